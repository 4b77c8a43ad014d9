// The page's texts in its language, times as that language writes them, and elements from templates.

const texts = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;
const days = new Intl.DateTimeFormat(language, { dateStyle: "long" });
const times = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const lists = new Intl.ListFormat(language, { type: "conjunction" });

/** The text of that name, `{name}`s replaced. A name without a text comes back itself: services may know more. */
export function text(name, values = {}) {
  return (texts[name] ?? name).replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** The text `prefix_name`, or the name where there is none. */
export const word = (prefix, name) => texts[`${prefix}_${name}`] ?? name;

export const day = (time) => days.format(new Date(time));
export const moment = (time) => times.format(new Date(time));
export const list = (words) => lists.format(words);

export const $ = (selector, within = document) => within.querySelector(selector);

/** A new copy of the one element in the template of that id. */
export const copyOf = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** An element with a text, which is never read as HTML. */
export function element(tag, content, className = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  made.className = className;
  return made;
}

/** Tell screen readers and eyes what became of something. */
export function say(words) {
  $("#said").textContent = words;
}

/** Hand the person a file that was made here. */
export function download(content, name) {
  const link = element("a", "");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
