// The pop-up and all that depends on what is chosen in it: the module of /consent.js, which services/consent/tag.py
// serves as one function call. `loadLibrary` evaluates vanilla-cookieconsent with the storage that it is given, `css` is
// its and our style. docs/guides/tag.md tells how to use it.
//
// One item of localStorage, candor.choice, holds everything: who the visitor is (anonymous_id, secret), what was chosen
// last, and decisions that the consent service has not acknowledged yet. Under opt_in it is not there before the choice.
((loadLibrary, css) => {
  const tag = document.currentScript;
  const stubbed = window.candor || [];
  if (!Array.isArray(stubbed)) return; // a second tag on the same page
  const base = new URL(".", tag.src);
  const { writeKey, jurisdiction, language } = tag.dataset;

  const KEY = "candor.choice";
  const DAY = 864e5;
  const RETRY = [1e3, 6e4]; // milliseconds: the first time, and at most
  const ANSWERS = ["accept", "reject", "save"];
  const CALLS = ["track", "page", "screen", "identify", "group", "alias"];
  const SDK_STORAGE = /^(ajs|rl)_/; // what the SDKs of Segment and RudderStack keep in cookies and localStorage
  const SIGNALS = {
    ad_storage: "marketing",
    ad_user_data: "marketing",
    ad_personalization: "marketing",
    analytics_storage: "analytics",
    functionality_storage: "personalization",
    personalization_storage: "personalization",
    security_storage: null, // of use to no purpose but the visitor's own safety
  };

  const gpc = navigator.globalPrivacyControl === true;
  const listeners = [];
  const waiting = []; // calls that wait for the choice: each is told whether it may go
  const held = []; // SDKs
  let policy;
  let library;
  let sending;

  // ---- What is kept. Other tabs write too, so it is read again before each change.

  let saved = read();

  function read() {
    try {
      return JSON.parse(localStorage.getItem(KEY)) || {};
    } catch {
      return saved || {}; // no storage, or none of ours in it: what is known holds for this page
    }
  }

  function write(change) {
    saved = { ...read(), ...change };
    try {
      localStorage.setItem(KEY, JSON.stringify(saved));
    } catch {}
  }

  const bytes = (count) => [...crypto.getRandomValues(new Uint8Array(count))];
  const hex = (count) => bytes(count).map((byte) => byte.toString(16).padStart(2, "0")).join("");
  // Letters alone: among digits there may be what looks like a card number, and such an id is refused.
  const letters = () => hex(16).replace(/./g, (digit) => String.fromCharCode(97 + parseInt(digit, 16)));

  function known() {
    if (!saved.anonymous_id) write({ anonymous_id: letters(), secret: hex(32) });
    return saved.anonymous_id;
  }

  // ---- What holds.

  const younger = (time, days) => Date.now() - Date.parse(time) < days * DAY; // false where there is no time
  const lapsed = () => !younger(saved.decided_at, policy.grants.days);
  const answered = () => !!saved.answered && !lapsed();
  const dismissed = () => younger(saved.dismissed_at, 1); // then it is asked again
  const sameTexts = () =>
    saved.hash === policy.hash || (saved.language === policy.language && saved.text_hash === policy.text_hash);

  // The last choice, else what the regime says. GPC denies, unless a yes was given under it.
  function allowed({ id, gpc: denied }) {
    let said = (saved.purposes || {})[id];
    if (said && lapsed()) said = undefined;
    if (gpc && denied && !(said && saved.gpc)) return false;
    return said ?? policy.regime !== "opt_in";
  }

  const purposes = (of = allowed) => Object.fromEntries(policy.purposes.map((purpose) => [purpose.id, of(purpose)]));
  const ids = (wanted) => Object.entries(purposes()).flatMap(([id, may]) => (may === wanted ? [id] : []));

  // Whether events may pass. A yes counts once it is acknowledged: before that the gate would drop them.
  function state() {
    if (!policy || (policy.regime === "opt_in" && !answered() && !dismissed())) return "hold";
    if (!policy.purposes.some(allowed)) return "drop";
    return (saved.pending || []).length ? "hold" : "pass";
  }

  // ---- Deciding.

  function decide(method, chosen) {
    known();
    const [id, decided_at] = [letters(), new Date().toISOString()];
    const { hash, text_hash, language, jurisdiction, regime, version } = policy;
    const decision = {
      id,
      method,
      identifiers: { anonymous_id: saved.anonymous_id },
      secret: saved.secret,
      purposes: Object.fromEntries(Object.entries(chosen).map(([name, yes]) => [name, yes ? "grant" : "deny"])),
      shown: policy.purposes.map((purpose) => purpose.id),
      policy_version: version,
      client_time: decided_at,
      url: location.origin + location.pathname, // a query may hold anything
      ...{ text_hash, language, jurisdiction, regime },
    };
    write({
      ...{ id, method, decided_at, gpc, hash, text_hash, language },
      answered: ANSWERS.includes(method) || !!saved.answered,
      purposes: { ...saved.purposes, ...chosen },
      pending: [...(saved.pending || []), decision],
    });
    changed();
    send();
  }

  // Closing without an answer. What was chosen before stays; where nothing was, it is a no until it is asked again.
  function dismiss() {
    write({ dismissed_at: new Date().toISOString() });
    if (policy.regime === "opt_in" && !saved.answered) decide("dismiss", purposes(() => false));
    library.hide();
  }

  async function send() {
    if (sending) return;
    sending = true;
    for (let delay = RETRY[0]; saved.pending && saved.pending[0]; ) {
      const decision = saved.pending[0];
      const status = await post("v1/decisions", decision);
      if (status === 400 || status === 409) console.error("candor: the decision was refused", status);
      else if (status !== 200) {
        await retryAfter(delay);
        delay = Math.min(delay * 2, RETRY[1]);
        continue;
      }
      write({ pending: read().pending.filter(({ id }) => id !== decision.id) });
    }
    sending = false;
    changed();
  }

  async function post(path, body) {
    try {
      const content = JSON.stringify({ writeKey, ...body }); // as text/plain, which needs no preflight
      return (await fetch(base + path, { method: "POST", body: content, keepalive: true, credentials: "omit" })).status;
    } catch {
      return 0;
    }
  }

  const retryAfter = (delay) =>
    new Promise((again) => {
      setTimeout(again, delay);
      addEventListener("online", again, { once: true });
    });

  function changed() {
    signal("update");
    const now = state();
    if (now === "drop") forget();
    if (now !== "hold") {
      for (const sdk of held) sdk(now === "pass");
      for (const go of waiting.splice(0)) go(now === "pass");
    }
    if (library) library.acceptCategory(ids(true));
    for (const listener of listeners) listener(choice());
  }

  // What SDKs stored while they were allowed to.
  function forget() {
    library.eraseCookies(SDK_STORAGE);
    for (let host = location.hostname; host; host = host.replace(/^[^.]*\.?/, "")) {
      library.eraseCookies(SDK_STORAGE, "/", host);
    }
    try {
      for (const name of Object.keys(localStorage)) if (SDK_STORAGE.test(name)) localStorage.removeItem(name);
    } catch {}
  }

  // ---- Google's Consent Mode v2.

  function signal(command) {
    const layer = (window.dataLayer = window.dataLayer || []);
    const may = (purpose) => command === "update" && (!purpose || (policy.purposes.some((one) => one.id === purpose && allowed(one))));
    const signals = Object.entries(SIGNALS).map(([name, purpose]) => [name, may(purpose) ? "granted" : "denied"]);
    (function () {
      layer.push(arguments); // gtag.js takes an arguments object and no array
    })("consent", command, { ...Object.fromEntries(signals), ...(command === "default" && { wait_for_update: 500 }) });
  }

  // ---- SDKs.

  const stamp = () => ({ categoryPreferences: policy ? purposes() : {} });
  const managed = () => ({ enabled: true, provider: "custom", allowedConsentIds: ids(true), deniedConsentIds: ids(false) });
  const stamped = (context) => ({ ...context, consent: stamp() });

  const gate = (call) =>
    new Promise((go) => {
      const now = state();
      if (now === "hold") waiting.push(go);
      else go(now === "pass");
    }).then((may) => (may ? call() : undefined));

  // hold(send): what to send events with; each gets its anonymousId and stamp and goes once it may.
  // hold(sdk, load): `load` is called once events may pass; until then its calls wait, and after a no they go nowhere.
  function hold(sdk, load) {
    if (!load) return (event) => gate(() => sdk({ anonymousId: known(), ...event, context: stamped(event.context) }));
    for (const name of CALLS) {
      const own = sdk[name];
      if (own) sdk[name] = (...given) => gate(() => own.apply(sdk, given));
    }
    let loaded;
    const follow = (may) => {
      if (may && !loaded) {
        loaded = true;
        if (sdk.addSourceMiddleware) {
          sdk.addSourceMiddleware(({ payload, next }) => {
            payload.obj.context = stamped(payload.obj.context);
            next(payload);
          });
        }
        sdk.setAnonymousId(known());
        load(managed());
      } else if (loaded && sdk.consent) sdk.consent({ consentManagement: managed() });
    };
    held.push(follow);
    if (state() !== "hold") follow(state() === "pass");
    return sdk;
  }

  // ---- What a page gets.

  const choice = () => ({
    purposes: policy ? purposes() : {},
    answered: !!policy && answered(),
    gpc,
    ...{ method: saved.method, decided_at: saved.decided_at, id: saved.id, text_hash: saved.text_hash },
  });

  function preferences() {
    const visitor = saved.anonymous_id && btoa(saved.anonymous_id).replace(/=+$/, "");
    const parts = { ...(visitor && { visitor: `${visitor}.${saved.secret}` }), language: policy.language, key: writeKey };
    return `${base}preferences#${new URLSearchParams(parts)}`;
  }

  const candor = {
    push: (...callbacks) => callbacks.forEach((callback) => callback(candor)),
    open: () => library.showPreferences(),
    onChoice(listener) {
      listeners.push(listener);
      if (choice().answered) listener(choice());
    },
    anonymousId: () => (saved.anonymous_id || (policy && state() === "pass") ? known() : undefined),
    ...{ choice, hold, preferences, stamp },
  };

  // ---- The layers.

  const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt()};`);

  function translation() {
    const texts = Object.fromEntries(Object.entries(policy.texts).map(([name, text]) => [name, escaped(text)]));
    const note = gpc ? `<span class="candor-gpc">${texts.gpc}</span>` : "";
    const more = `<a href="${base}transparency#language=${policy.language}">${texts.more}</a>`;
    const [acceptAllBtn, acceptNecessaryBtn, closeIconLabel] = [texts.accept, texts.reject, texts.close];
    const buttons = { acceptAllBtn, acceptNecessaryBtn, closeIconLabel };
    const sections = policy.purposes.map(({ id, name, description }) => ({
      title: escaped(name),
      description: escaped(description),
      linkedCategory: id,
    }));
    const description = `${texts.body} ${more}${note}`;
    return {
      consentModal: { title: texts.title, description, showPreferencesBtn: texts.choose, ...buttons },
      preferencesModal: {
        title: texts.reopen,
        savePreferencesBtn: texts.save,
        sections: [{ description }, ...sections],
        ...buttons,
      },
    };
  }

  // The first layer is no modal dialog, whatever the library claims of it (orestbida/cookieconsent#797): the page stays
  // usable. So it is a region, comes first in the page, takes no focus and lets it go.
  function mend({ modalName, modal }) {
    if (modalName === "consentModal") {
      modal.setAttribute("role", "region");
      modal.removeAttribute("aria-modal");
      modal.firstChild.removeAttribute("tabindex");
    } else for (const title of modal.querySelectorAll("button.pm__section-title")) title.click(); // unfold them
  }

  function clicked(event) {
    const role = event.target.closest("[data-role]")?.dataset.role;
    const closing = event.target.closest(".cm__btn--close");
    if (!closing && !["all", "necessary", "save"].includes(role)) return;
    event.stopImmediatePropagation();
    if (closing) return dismiss();
    // Under GPC a yes to everything is no yes to what GPC denies: that takes a switch of its own.
    if (role === "all") decide("accept", purposes((purpose) => !(gpc && purpose.gpc) || allowed(purpose)));
    else if (role === "necessary") decide("reject", purposes(() => false));
    else decide("save", Object.fromEntries([...this.querySelectorAll(".section__toggle")].map((box) => [box.value, box.checked])));
    library.hidePreferences();
    library.hide();
  }

  function pressed(event) {
    if (!event.target.closest(".cm")) return;
    if (event.key === "Tab") event.stopPropagation(); // the library would keep the focus in
    if (event.key === "Escape") dismiss();
  }

  async function build() {
    const root = document.createElement("aside");
    root.id = "candor";
    root.lang = policy.language;
    root.dir = policy.direction;
    root.setAttribute("aria-label", policy.texts.reopen);
    root.addEventListener("click", clicked, true);
    root.addEventListener("keydown", pressed, true);
    document.body.prepend(root);
    const sheet = new CSSStyleSheet(); // adopted: a style element would need the site's Content-Security-Policy to allow it
    sheet.replaceSync(css);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    await library.run({
      root,
      mode: "opt-out", // what is enabled holds until something else is chosen
      autoShow: false,
      autoClearCookies: false,
      hideFromBots: false,
      cookie: { useLocalStorage: true },
      guiOptions: { consentModal: { layout: "box inline", position: "bottom left" } },
      categories: purposes((purpose) => ({ enabled: allowed(purpose) })),
      language: {
        default: policy.language,
        rtl: policy.direction === "rtl" ? policy.language : undefined,
        translations: { [policy.language]: translation() },
      },
      onModalReady: mend,
    });
    addReopening(root);
  }

  // Any element of the page with data-candor="open", else a button of our own.
  function addReopening(root) {
    const opener = '[data-candor="open"]';
    addEventListener("click", (event) => {
      if (!event.target.closest(opener)) return;
      event.preventDefault();
      candor.open();
    });
    if (document.querySelector(opener)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "candor-reopen";
    button.dataset.candor = "open";
    button.textContent = policy.texts.reopen;
    root.append(button);
  }

  function ask() {
    if (dismissed() || (answered() && sameTexts())) return;
    library.show(true);
    const { text_hash, language, jurisdiction } = policy;
    post("v1/policy/shown", { language, jurisdiction, text_hash });
  }

  // ---- The way through a page.

  async function fetchPolicy() {
    const query = new URLSearchParams({ writeKey, language: language || document.documentElement.lang || navigator.language });
    if (jurisdiction) query.set("jurisdiction", jurisdiction);
    for (let delay = RETRY[0]; ; delay = Math.min(delay * 2, RETRY[1])) {
      try {
        const answer = await fetch(`${base}v1/policy?${query}`, { credentials: "omit" });
        if (answer.ok) return answer.json();
      } catch {}
      await retryAfter(delay);
    }
  }

  async function start() {
    const found = await fetchPolicy();
    if (!document.body) await new Promise((parsed) => addEventListener("DOMContentLoaded", parsed));
    policy = found;
    library = loadLibrary({ getItem: () => null, setItem() {}, removeItem() {} }); // ours is the one memory
    await build();
    const denied = policy.purposes.filter((purpose) => purpose.gpc && !allowed(purpose));
    const unheard = ({ id }) => ((saved.purposes || {})[id] ?? policy.regime !== "opt_in") && !saved.gpc;
    if (gpc && denied.some(unheard)) decide("gpc", Object.fromEntries(denied.map(({ id }) => [id, false])));
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

  signal("default");
  candor.ready = start();
  window.candor = candor;
  candor.push(...stubbed);
})
