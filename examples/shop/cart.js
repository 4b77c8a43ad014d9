import { priced, recordOf } from "./records.js";
import { $, cart, coverOf, make, setCart } from "./shop.js";
import { analytics } from "./tracking.js";

function show() {
  const records = cart().map(recordOf).filter(Boolean);
  const rows = records.map((record, number) => {
    const remove = make("button", "", "Remove");
    remove.setAttribute("aria-label", `Remove ${record.title}`);
    remove.onclick = () => {
      setCart(cart().toSpliced(number, 1));
      show();
    };
    return make("li", "", coverOf(record), make("span", "", record.title), make("em", "", priced(record.price)), remove);
  });
  $("#cart").replaceChildren(rows.length ? make("ul", "lines", ...rows) : make("p", "empty", "It is empty."));
  $("#checkout").hidden = records.length === 0;
  $("#total").textContent = priced(totalOf(records));
}

const totalOf = (records) => Math.round(records.reduce((sum, record) => sum + record.price * 100, 0)) / 100;

$("#checkout").onsubmit = (event) => {
  event.preventDefault();
  const records = cart().map(recordOf).filter(Boolean);
  const letters = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => String.fromCharCode(65 + (byte & 15)));
  const order = { order_id: letters.join(""), total: totalOf(records), currency: "EUR", quantity: records.length };
  const note = $("#note").value.trim();
  analytics.track("Order Completed", note ? { ...order, note } : order);
  setCart([]);
  show();
  $("#bought").textContent = `Thank you! Your order is ${order.order_id}.`;
};

show();
