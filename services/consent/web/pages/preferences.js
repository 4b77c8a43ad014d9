// /preferences: who is it, what did they choose, what is known about them, what did they ask for.

import { Client, Refused } from "./api.js";
import { decisionOf, showChoices, showReceipts } from "./choices.js";
import { claimed, take } from "./credentials.js";
import { showKnown } from "./known.js";
import { isOpen, showRequests } from "./requests.js";
import { $, download, element, language, say, text } from "./words.js";

// Between two looks at what is under way: the first time, and at most.
const LOOK_MILLISECONDS = [2000, 30_000];

let client;
let person; // what opened the page
let policy;
let me;
let waiting; // for the next look at what is under way, or the next try

async function start() {
  person ??= take();
  if (!person) {
    if (!location.hash) problem("none"); // else the page loads again in another language
    return;
  }
  client = new Client(person.authorization);
  say(text("loading"));
  try {
    const { key: writeKey, jurisdiction } = person;
    const query = new URLSearchParams({ language, ...(writeKey && { writeKey }), ...(jurisdiction && { jurisdiction }) });
    policy = await client.json(`/v1/policy?${query}`);
    await known();
    say("");
    $("#problem").hidden = true;
    $("#person").hidden = false;
    show();
  } catch (error) {
    refused(error);
  }
}

/** Who this is. A visitor whom nobody has claimed yet, for want of a choice, is claimed with the page's key. */
async function known() {
  try {
    me = await mine();
  } catch (error) {
    if (!(error.status === 401 && person.visitor && person.key)) throw error;
    await client.ask("/v1/visitors", { writeKey: person.key, ...claimed(person.visitor) });
    me = await mine();
  }
}

/** Where nobody knows where this person is, what holds everywhere else does. */
const place = () => (policy.jurisdiction === "*" ? {} : { jurisdiction: policy.jurisdiction });
const mine = () => client.json(`/v1/me?${new URLSearchParams(place())}`);

function show() {
  showChoices(me, policy, save);
  showReceipts(me, policy, client);
  showRequests(me.requests);
  $("#identifiers").replaceChildren(text("identifiers"), ...me.identifiers.flatMap((one) => [" ", element("code", one)]));
  follow();
}

/** Look again while something is under way, ever less often. */
function follow(delay = LOOK_MILLISECONDS[0]) {
  clearTimeout(waiting);
  if (!me.requests.some(isOpen)) return;
  waiting = setTimeout(async () => {
    try {
      me.requests = await Promise.all(
        me.requests.map((one) => (isOpen(one) ? client.json(`/v1/privacy/requests/${one.id}`) : one)),
      );
      showRequests(me.requests);
    } catch (error) {
      if (!(error instanceof Refused && error.passing)) return;
    }
    follow(Math.min(delay * 1.5, LOOK_MILLISECONDS[1]));
  }, delay);
}

async function again() {
  me = await mine();
  show();
}

/** Do it with the buttons off, and say what became of it. */
async function attempt(work, failure = "failed") {
  const buttons = [...document.querySelectorAll("#person button")];
  for (const button of buttons) button.disabled = true;
  say(text("loading"));
  try {
    say(text(await work()));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(text(failure, { why: error.passing ? text("try_later") : error.message }));
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function save(purposes, method) {
  const decision = decisionOf(me, policy, purposes, method);
  return attempt(async () => {
    await client.persist("/v1/decisions", decision);
    await again();
    return "saved";
  }, "not_saved");
}

$("#show").onclick = () =>
  attempt(async () => {
    const some = showKnown(await client.json("/v1/me/copy"), policy, correct);
    $("#known").focus();
    return some ? "shown" : "nothing_known";
  });

for (const [id, path, name] of [
  ["#copy-json", "/v1/me/copy", "my-data.json"],
  ["#copy-html", "/v1/me/copy.html", "my-data.html"],
]) {
  $(id).onclick = () =>
    attempt(async () => {
      download(await (await client.ask(path)).blob(), name);
      return "copied";
    });
}

/** Ask for a request, and show it among the others. */
async function ask(body) {
  const request = await client.json("/v1/privacy/requests", { ...place(), ...body });
  me.requests = [request, ...me.requests.filter((one) => one.id !== request.id)];
  showRequests(me.requests);
  follow();
  $("#requests-title").scrollIntoView({ block: "center" });
}

$("#erase").onclick = () => {
  $("#sure").checked = false;
  $("#erase-dialog").returnValue = "";
  $("#erase-dialog").showModal();
};
$("#erase-dialog").onclose = (event) => {
  if (event.target.returnValue !== "erase") return;
  attempt(async () => {
    await ask({ type: "erasure" });
    $("#known").hidden = true;
    me.choices = Object.fromEntries(policy.purposes.map(({ id }) => [id, { allowed: false, because: "denied" }]));
    show();
    return "erasing";
  });
};

function correct(name, value) {
  const dialog = $("#correct-dialog");
  $("label", dialog).textContent = name;
  const input = $("#right-value");
  input.value = value;
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "correct") return;
    attempt(async () => {
      await ask({ type: "rectification", traits: { [name]: input.value } });
      return "corrected";
    });
  };
  dialog.showModal();
  input.select();
}

function refused(error) {
  if (!(error instanceof Refused)) throw error;
  if (!error.passing) return problem("wrong");
  problem("away", error.after);
  waiting = setTimeout(start, error.after * 1000);
}

function problem(name, seconds) {
  clearTimeout(waiting);
  const section = $("#problem");
  $("h2", section).textContent = text(name);
  $("p", section).textContent = text(`${name}_lead`, { seconds });
  $(".contact", section).hidden = name !== "wrong";
  $(".retry", section).hidden = name !== "away";
  section.hidden = false;
  say("");
}

$("#problem .retry").onclick = start;
addEventListener("hashchange", () => location.hash && location.reload());
start();
