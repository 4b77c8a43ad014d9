import { RECORDS, priced } from "./records.js";
import { $, coverOf, make } from "./shop.js";

$("#records").append(
  ...RECORDS.map((record) => {
    const link = make("a", "", coverOf(record), make("strong", "", record.title), make("span", "", record.artist));
    link.href = `/product.html?sku=${record.sku}`;
    link.append(make("em", "", priced(record.price)));
    return make("li", "", link);
  }),
);
