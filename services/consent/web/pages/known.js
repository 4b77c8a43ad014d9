// What is known about the person: every value with its source, time and purposes.

import { $, element, list, moment, text, word } from "./words.js";

const SERVICES = ["profile", "segment", "consent", "ingest"];
const COLUMNS = ["what", "value", "source", "when", "purpose"];
const TRAIT = "trait ";

/**
 * Show a copy; whether there is anything in it. `correct(name, value)` is called for a trait that the person finds
 * wrong.
 */
export function showKnown(copy, policy, correct) {
  const names = Object.fromEntries(policy.purposes.map((purpose) => [purpose.id, purpose.name]));
  const parts = SERVICES.filter((service) => copy.services[service]?.values.length).map((service) =>
    partOf(service, copy.services[service].values, names, correct),
  );
  $("#known").hidden = false;
  $("#known").replaceChildren(...(parts.length ? parts : [element("p", text("nothing_known"), "empty")]));
  return parts.length > 0;
}

function partOf(service, values, names, correct) {
  const part = element("details", "");
  part.open = service !== "consent";
  const title = element("summary", `${word("known", service)} (${values.length})`);
  const table = element("table", "", "known");
  const head = element("tr", "");
  head.append(...COLUMNS.map((column) => Object.assign(element("th", text(column)), { scope: "col" })));
  table.createTHead().append(head);
  table.createTBody().append(...values.map((value) => rowOf(value, names, correct)));
  const scroll = element("div", "", "scroll");
  scroll.tabIndex = 0;
  scroll.role = "region";
  scroll.ariaLabel = title.textContent;
  scroll.append(table);
  part.append(title, scroll);
  return part;
}

function rowOf(value, names, correct) {
  const row = element("tr", "");
  const what = Object.assign(element("th", value.what.replace(TRAIT, "")), { scope: "row" });
  const shown = element("td", "", "value");
  const content = shownOf(value.value);
  if (content instanceof Node) {
    const folded = element("details", "");
    folded.append(element("summary", text("details")), content);
    shown.append(folded);
  } else shown.append(content);
  const purposes = value.purposes.map((purpose) => names[purpose] ?? purpose);
  row.append(
    what,
    shown,
    noteOf("source", value.source ?? "–"),
    noteOf("when", value.time ? moment(value.time) : "–"),
    noteOf("purpose", list(purposes) || "–"),
  );
  if (value.what.startsWith(TRAIT) && typeof value.value !== "object") {
    const name = value.what.slice(TRAIT.length);
    const button = Object.assign(element("button", text("correct"), "quiet small"), { type: "button" });
    button.ariaLabel = text("correct_what", { name });
    button.onclick = () => correct(name, String(value.value));
    shown.append(" ", button);
  }
  return row;
}

/** A cell that says on a narrow screen, which has no head, what it is. */
function noteOf(column, content) {
  const cell = element("td", content, "note");
  cell.dataset.label = text(column);
  return cell;
}

/** A value so that no JSON has to be read. */
function shownOf(value) {
  if (value === null) return "–";
  if (typeof value === "boolean") return text(value ? "yes" : "no");
  if (typeof value !== "object") return String(value);
  const members = element("dl", "");
  for (const [name, own] of Object.entries(value)) {
    const member = element("div", "");
    const term = element("dt", Array.isArray(value) ? `${Number(name) + 1}` : name);
    const description = element("dd", "");
    description.append(shownOf(own));
    member.append(term, description);
    members.append(member);
  }
  return members;
}
