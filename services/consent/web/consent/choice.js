// What was chosen, what follows from it, and its way to the consent service.
//
// One item of localStorage, candor.choice, holds everything: who the visitor is (anonymous_id, secret), what was chosen
// last, and decisions that are not acknowledged yet. Under opt_in it is not there before the choice.

const KEY = "candor.choice";
const DAY = 864e5;
// Milliseconds until a request is repeated: the first time, and at most.
const RETRY = [1e3, 6e4];
const ANSWERS = ["accept", "reject", "save"];

const gpc = navigator.globalPrivacyControl === true;
let policy;
let saved = read();
let sending;

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) || {};
  } catch {
    // No storage: what is known holds for this page.
    return saved || {};
  }
}

// Other tabs write too, so it is read again before each change.
function write(change) {
  saved = { ...read(), ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(saved));
  } catch {}
}

const bytes = (count) => [...crypto.getRandomValues(new Uint8Array(count))];
const hex = (count) => bytes(count).map((byte) => byte.toString(16).padStart(2, "0")).join("");
// Letters alone: among digits there may be what looks like a card number, and such an id is refused.
const letters = () => bytes(32).map((byte) => String.fromCharCode(97 + (byte & 15))).join("");

// The visitor's anonymous id, made and kept where there is none yet.
function visitor() {
  if (!saved.anonymous_id) write({ anonymous_id: letters(), secret: hex(32) });
  return saved.anonymous_id;
}

// False where there is no time.
const within = (time, days) => Date.now() - Date.parse(time) < days * DAY;
const lapsed = () => !within(saved.decided_at, policy.grants.days);
const answered = () => !!saved.answered && !lapsed();
// Closed without an answer: asked again after a day.
const dismissed = () => within(saved.dismissed_at, 1);
// In another language the texts differ, so there the hash of all that people are asked counts.
const sameTexts = () =>
  saved.hash === policy.hash || (saved.language === policy.language && saved.text_hash === policy.text_hash);

// What was said of the purpose, else what the regime says.
function said({ id }) {
  const yes = (saved.purposes || {})[id];
  return yes === undefined || (yes && lapsed()) ? policy.regime !== "opt_in" : yes;
}

// GPC denies, unless a yes was given under it.
const overruled = (purpose) => gpc && purpose.gpc && !(said(purpose) && saved.gpc && saved.purposes[purpose.id]);
const allowed = (purpose) => said(purpose) && !overruled(purpose);
const each = (answer) => Object.fromEntries(policy.purposes.map((purpose) => [purpose.id, answer(purpose)]));
const ids = (wanted) => policy.purposes.filter((one) => allowed(one) === wanted).map(({ id }) => id);

// Whether events may pass. A yes counts once it is acknowledged: before that the gate would drop them.
function state() {
  if (!policy || (policy.regime === "opt_in" && !answered() && !dismissed())) return "hold";
  if (!policy.purposes.some(allowed)) return "drop";
  return (saved.pending || []).length ? "hold" : "pass";
}

function decide(method, purposes) {
  const [id, decided_at] = [letters(), new Date().toISOString()];
  const { hash, text_hash, language, jurisdiction, regime, version } = policy;
  const decision = {
    id,
    method,
    identifiers: { anonymous_id: visitor() },
    secret: saved.secret,
    purposes: Object.fromEntries(Object.entries(purposes).map(([name, yes]) => [name, yes ? "grant" : "deny"])),
    shown: policy.purposes.map((purpose) => purpose.id),
    policy_version: version,
    client_time: decided_at,
    // Without the query, which may hold anything.
    url: location.origin + location.pathname,
    ...{ text_hash, language, jurisdiction, regime },
  };
  write({
    ...{ id, method, gpc },
    // GPC shows nobody any texts.
    ...(method !== "gpc" && { decided_at, hash, text_hash, language }),
    answered: ANSWERS.includes(method) || !!saved.answered,
    purposes: { ...saved.purposes, ...purposes },
    pending: [...(saved.pending || []), decision],
  });
  changed();
  send();
}

// Send what is not acknowledged yet, in its order, until it is.
async function send() {
  if (sending) return;
  sending = true;
  for (let delay = RETRY[0]; saved.pending && saved.pending[0]; ) {
    const decision = saved.pending[0];
    const status = await post("v1/decisions", decision);
    if (status === 400 && (await withoutGone(decision))) continue;
    if (![200, 400, 409].includes(status)) {
      await pause(delay);
      delay = Math.min(delay * 2, RETRY[1]);
      continue;
    }
    if (status !== 200) console.error("candor: a decision was refused", status);
    write({ pending: (read().pending || []).filter(({ id }) => id !== decision.id) });
  }
  sending = false;
  changed();
}

// A yes to a purpose that the policy has lost since is refused with all that was said beside it. Whether that was so: then
// the rest of it waits to be sent in its place.
async function withoutGone(decision) {
  const known = (await fetchPolicy("reload")).purposes.map(({ id }) => id);
  const left = Object.entries(decision.purposes).filter(([name]) => known.includes(name));
  if (!left.length || left.length === Object.keys(decision.purposes).length) return false;
  const rest = { ...decision, purposes: Object.fromEntries(left) };
  write({ pending: read().pending.map((one) => (one.id === decision.id ? rest : one)) });
  return true;
}

// The status of the answer, 0 when there is none. Its type stays text/plain, which needs no preflight.
async function post(path, body) {
  const content = JSON.stringify({ writeKey, ...body });
  try {
    return (await fetch(base + path, { method: "POST", body: content, keepalive: true, credentials: "omit" })).status;
  } catch {
    return 0;
  }
}

// Ends early when the browser is online again.
const pause = (delay) =>
  new Promise((done) => {
    setTimeout(done, delay);
    addEventListener("online", done, { once: true });
  });
