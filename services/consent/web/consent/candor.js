// What a page gets, and the way through it. choice.js, sdks.js, layers.js and this file are parts of one function, which
// services/consent/tag.py puts together. It gives them `loadLibrary`, which evaluates vanilla-cookieconsent with the
// storage that it is given, and `css`. docs/guides/tag.md tells how to use it.

const tag = document.currentScript;
const base = new URL(".", tag.src).href;
const { writeKey, jurisdiction, language } = tag.dataset;
const listeners = [];

const choice = () => ({
  purposes: policy ? each(allowed) : {},
  answered: !!policy && answered(),
  gpc,
  ...{ method: saved.method, decided_at: saved.decided_at, id: saved.id, text_hash: saved.text_hash },
});

function changed() {
  signal("update");
  settle();
  library.acceptCategory(ids(true));
  for (const listener of listeners) listener(choice());
}

// Address of the page on which the visitor sees and changes everything. What proves who it is stays in the fragment.
function preferences() {
  const own = { ...(policy && { language: policy.language }), ...(jurisdiction && { jurisdiction }), key: writeKey };
  const { anonymous_id, secret } = saved;
  if (anonymous_id) own.visitor = `${btoa(anonymous_id).replace(/=+$/, "")}.${secret}`;
  return `${base}preferences#${new URLSearchParams(own)}`;
}

async function fetchPolicy(cache = "default") {
  const spoken = language || document.documentElement.lang || navigator.language;
  const query = new URLSearchParams({ writeKey, language: spoken });
  if (jurisdiction) query.set("jurisdiction", jurisdiction);
  for (let delay = RETRY[0]; ; delay = Math.min(delay * 2, RETRY[1])) {
    try {
      const answer = await fetch(`${base}v1/policy?${query}`, { credentials: "omit", cache });
      if (answer.ok) return await answer.json();
    } catch {}
    await pause(delay);
  }
}

async function start() {
  const found = await fetchPolicy();
  if (!document.body) await new Promise((parsed) => addEventListener("DOMContentLoaded", parsed));
  policy = found;
  await build();
  const unheard = policy.purposes.filter((purpose) => said(purpose) && overruled(purpose));
  if (unheard.length) decide("gpc", Object.fromEntries(unheard.map(({ id }) => [id, false])));
  changed();
  send();
  ask();
  addEventListener("storage", ({ key }) => {
    if (key !== KEY) return;
    saved = read();
    changed();
    if (answered()) library.hide();
  });
}

const candor = {
  push: (...callbacks) => callbacks.forEach((callback) => callback(candor)),
  open: () => candor.ready.then(() => library.showPreferences()),
  onChoice(listener) {
    listeners.push(listener);
    if (choice().answered) listener(choice());
  },
  anonymousId: () => (saved.anonymous_id || state() === "pass" ? visitor() : undefined),
  ...{ choice, hold, preferences, stamp },
};

const early = window.candor || [];
// Not for a second tag of the same page.
if (Array.isArray(early)) {
  signal("default");
  window.candor = candor;
  candor.ready = start();
  candor.push(...early);
}
