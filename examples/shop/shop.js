// What every page of the shop has: the visit is noted, the cart counted, and what comes of it shown live.
import { analytics, candor } from "./tracking.js";

const CART = "cart";

export const $ = (selector) => document.querySelector(selector);

/** The skus in the cart: what a shop may keep without asking, as it is what the visitor asked for. */
export const cart = () => JSON.parse(localStorage.getItem(CART) ?? "[]");

export function setCart(skus) {
  localStorage.setItem(CART, JSON.stringify(skus));
  $("#cart-count").textContent = skus.length || "";
}

/** An element with classes, texts or elements inside. */
export function make(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

/** A record's cover; what it says stands beside it. */
export function coverOf(record) {
  const cover = make("div", `cover ${record.shape}`);
  cover.style.setProperty("--hue", record.hue);
  cover.ariaHidden = "true";
  return cover;
}

setCart(cart());
analytics.page();
$("#choices").onclick = () => candor.then((tag) => tag.open());

// Which segment the visit has led to. Nobody who refused is in any, so nothing is asked about them.
candor.then((tag) => {
  let live;
  tag.onChoice(() => {
    const id = tag.anonymousId();
    if (live || !id) return;
    live = new EventSource(`/live?${new URLSearchParams({ anonymous_id: id })}`);
    live.onmessage = ({ data }) => {
      const { member, name } = JSON.parse(data);
      $("#live").dataset.member = member;
      $("#live span").textContent = member ? `You are in the segment “${name}”` : `You are not in the segment “${name}”`;
    };
  });
});
