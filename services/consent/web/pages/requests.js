// What the person asked for, and how far each service is.

import { $, copyOf, day, element, text, word } from "./words.js";

/** Show the requests, the newest first; `state`s and steps in words. */
export function showRequests(requests) {
  const newest = [...requests].sort((one, other) => other.received_at.localeCompare(one.received_at));
  $("#no-requests").hidden = newest.length > 0;
  $("#requests").replaceChildren(...newest.map(requestOf));
}

export const isOpen = (request) => !request.final;

/** What failed is tried again, but for what is final. */
const stateOf = (prefix, state, { final }) => word(prefix, final && state === "failed" ? "final" : state);

function requestOf(request) {
  const item = copyOf("request");
  item.dataset.state = request.state;
  $("h3", item).append(
    element("span", word("type", request.type)),
    " ",
    element("span", stateOf("state", request.state, request), `state ${request.state}`),
  );
  const dates = { received: day(request.received_at), due: day(request.due_at) };
  $(".when", item).textContent = text("received", dates);
  $(".steps", item).replaceChildren(
    ...request.steps.map((step) =>
      element("li", `${word("service", step.service)}: ${stateOf("step", step.state, request)}`, step.state),
    ),
  );
  const remains = request.remains ?? [];
  $(".remains", item).hidden = remains.length === 0;
  $(".remains ul", item).replaceChildren(
    ...remains.map((one) => {
      const what = `${one.what} (${one.where})`;
      return element("li", one.until ? text("until", { what, until: day(one.until) }) : text("stays", { what }));
    }),
  );
  return item;
}
