// The person's choices, and the receipt of each.

import { $, copyOf, day, download, element, language, list, moment, say, text, word } from "./words.js";

/** Show `me`'s choices of the policy's purposes. `save(purposes, method)` is called with what the person decides. */
export function showChoices(me, policy, save) {
  $("#regime").textContent = text(`regime_${me.regime}`);
  const gpc = me.gpc || navigator.globalPrivacyControl === true;
  $("#gpc").hidden = !gpc;
  $("#gpc").textContent = text("gpc");
  $("#choices .switches").replaceChildren(...policy.purposes.map((purpose) => choiceOf(purpose, me.choices[purpose.id])));
  $("#choices").onsubmit = (event) => {
    event.preventDefault();
    const method = event.submitter?.value ?? "save";
    const switches = [...event.target.querySelectorAll("input")];
    const wanted = { accept: () => true, reject: () => false, save: (one) => one.checked }[method];
    save(Object.fromEntries(switches.map((one) => [one.name, wanted(one) ? "grant" : "deny"])), method);
  };
}

function choiceOf(purpose, choice) {
  const item = copyOf("choice");
  $("strong", item).textContent = purpose.name;
  $(".description", item).textContent = purpose.description;
  $(".because", item).textContent = because(choice);
  const input = $("input", item);
  input.name = purpose.id;
  input.checked = choice?.allowed ?? false;
  const described = [".description", ".because"].map((part, number) => {
    const id = `${purpose.id}-${number}`;
    $(part, item).id = id;
    return id;
  });
  $("strong", item).id = `${purpose.id}-name`;
  input.setAttribute("aria-labelledby", `${purpose.id}-name`);
  input.setAttribute("aria-describedby", described.join(" "));
  return item;
}

function because(choice) {
  if (choice?.because === "denied") return text("denied");
  if (choice?.because !== "granted") return text(choice?.allowed ? "unanswered_yes" : "unanswered_no");
  return choice.expires_at ? text("granted", { until: day(choice.expires_at) }) : text("granted_open");
}

/** Show the receipts, the newest first; each can be downloaded. */
export function showReceipts(me, policy, client) {
  const names = Object.fromEntries(policy.purposes.map((purpose) => [purpose.id, purpose.name]));
  const receipts = [...me.receipts].sort((one, other) => other.position - one.position);
  $("#receipts .count").textContent = `(${receipts.length})`;
  const rows = receipts.map((receipt) => receiptOf(receipt, names, client));
  $("#receipts .rows").replaceChildren(...(rows.length ? rows : [element("li", text("no_receipts"), "empty")]));
}

function receiptOf(receipt, names, client) {
  const item = copyOf("receipt");
  const when = moment(receipt.decided_at);
  $("strong", item).textContent = purposesOf(receipt.purposes, names);
  $(".note", item).textContent = `${when} · ${word("method", receipt.method)}`;
  const button = $("button", item);
  button.setAttribute("aria-label", text("receipt_download", { when }));
  button.onclick = async () => {
    try {
      const answer = await client.ask(`/v1/me/receipts/${receipt.position}`);
      download(await answer.blob(), `receipt-${receipt.position}.json`);
    } catch (error) {
      say(text("failed", { why: error.message || text("try_later") }));
    }
  };
  return item;
}

function purposesOf(purposes, names) {
  const named = (choice) =>
    Object.keys(purposes).filter((id) => purposes[id] === choice).map((id) => names[id] ?? (id === "*" ? text("every_purpose") : id));
  const parts = [["yes_to", named("grant")], ["no_to", named("deny")]].filter(([, some]) => some.length);
  return parts.map(([name, some]) => text(name, { purposes: list(some) })).join(" · ");
}

// Letters alone: among digits there may be what looks like a card number, and such an id is refused.
const letters = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => String.fromCharCode(97 + (byte & 15))).join("");

/** The decision to post for these purposes, `{id: "grant" | "deny"}`, with what the person saw. */
export function decisionOf(me, policy, purposes, method) {
  return {
    id: letters(),
    identifiers: me.identifiers,
    purposes,
    method,
    policy_version: policy.version,
    text_hash: policy.text_hash,
    language,
    ...(policy.jurisdiction !== "*" && { jurisdiction: policy.jurisdiction }),
    regime: me.regime,
    shown: policy.purposes.map((purpose) => purpose.id),
    url: location.origin + location.pathname,
    client_time: new Date().toISOString(),
  };
}
