import { priced, recordOf } from "./records.js";
import { $, cart, coverOf, make, setCart } from "./shop.js";
import { analytics } from "./tracking.js";

const record = recordOf(new URLSearchParams(location.search).get("sku"));

function show() {
  const add = make("button", "primary", "Put into the cart");
  add.onclick = () => {
    setCart([...cart(), record.sku]);
    add.textContent = "It is in your cart";
  };
  $("#record").append(
    coverOf(record),
    make(
      "div",
      "",
      make("p", "genre", record.genre),
      make("h1", "", record.title),
      make("p", "", record.artist),
      make("p", "price", priced(record.price)),
      add,
    ),
  );
  document.title = `${record.title} · Groove & Grain`;
  analytics.track("Product Viewed", { sku: record.sku, genre: record.genre, url: location.href });
}

if (record) show();
else $("#record").append(make("h1", "", "There is no such record"));
