// What sends events, and Google's tags: both do what the choice says.

const CALLS = ["track", "page", "screen", "identify", "group", "alias"];
// What the SDKs of Segment and RudderStack keep in cookies and localStorage.
const SDK_STORAGE = /^(ajs|rl)_/;
// Google's Consent Mode v2. The last is of use to no purpose but the visitor's own safety.
const SIGNALS = {
  ad_storage: "marketing",
  ad_user_data: "marketing",
  ad_personalization: "marketing",
  analytics_storage: "analytics",
  functionality_storage: "personalization",
  personalization_storage: "personalization",
  security_storage: "",
};

// Calls that wait for the choice, each to be told whether it may go; and the SDKs, to be told of every change.
const waiting = [];
const followers = [];

const stamp = () => ({ categoryPreferences: policy ? each(allowed) : {} });

// The context of an event. Where the tag says where the visitor is, the event is judged by that place's regime.
function stamped(context) {
  const [country, region] = (jurisdiction || "").split("-");
  return { ...(country && { location: { country, region } }), ...context, consent: stamp() };
}

const gate = (call) =>
  new Promise((go) => {
    const now = state();
    if (now === "hold") waiting.push(go);
    else go(now === "pass");
  }).then((may) => (may ? call() : undefined));

// hold(send): a function to send events with; each gets its anonymousId and its stamp, and goes once it may.
// hold(sdk, load): `load` is called once events may pass; until then calls wait, and after a no they go nowhere.
function hold(sdk, load) {
  if (!load) {
    return (event) => gate(() => sdk({ anonymousId: visitor(), ...event, context: stamped(event.context) }));
  }
  for (const name of CALLS) {
    const own = sdk[name];
    if (own) sdk[name] = (...given) => gate(() => own.apply(sdk, given));
  }
  let loaded = false;
  let stale = false;
  const follow = (may) => {
    if (loaded) {
      if (sdk.setCustomContext) sdk.setCustomContext(stamped());
      return;
    }
    // What it was told before this script came, it keeps itself: after a no that goes nowhere either.
    if (!may) {
      stale = stale || state() === "drop";
      return;
    }
    loaded = true;
    if (stale && sdk._preInitBuffer) sdk._preInitBuffer.clear();
    if (sdk.addSourceMiddleware) {
      sdk.addSourceMiddleware(({ payload, next }) => {
        payload.obj.context = stamped(payload.obj.context);
        next(payload);
      });
    }
    sdk.setAnonymousId(visitor());
    load(sdk.setCustomContext && rudderstack(stale));
    if (stale && sdk.consent) {
      const consentManagement = { allowedConsentIds: ids(true), deniedConsentIds: ids(false) };
      sdk.consent({ discardPreConsentEvents: true, consentManagement });
    }
  };
  followers.push(follow);
  follow(state() === "pass");
  return sdk;
}

// Options of RudderStack's load. The id is handed over in a cookie: calls that came first would get another one. To
// throw those away it must believe that it waited for the consent.
function rudderstack(stale) {
  const name = "rl_candor_id";
  document.cookie = `${name}=${visitor()}; Path=/; Max-Age=60; SameSite=Lax`;
  return {
    externalAnonymousIdCookieName: name,
    context: stamped(),
    ...(stale && {
      consentManagement: { enabled: true, provider: "custom" },
      preConsent: { enabled: true, events: { delivery: "buffer" } },
    }),
  };
}

function settle() {
  const now = state();
  if (now === "hold") return;
  for (const follow of followers) follow(now === "pass");
  for (const go of waiting.splice(0)) go(now === "pass");
  if (now === "drop") forget();
}

function forget() {
  library.eraseCookies(SDK_STORAGE);
  for (let host = location.hostname; host; host = host.replace(/^[^.]*\.?/, "")) {
    library.eraseCookies(SDK_STORAGE, "/", host);
  }
  try {
    for (const name of Object.keys(localStorage)) if (SDK_STORAGE.test(name)) localStorage.removeItem(name);
  } catch {}
}

function signal(command) {
  const granted = command === "update" ? ["", ...ids(true)] : [];
  const signals = Object.entries(SIGNALS).map(([name, purpose]) => [
    name,
    granted.includes(purpose) ? "granted" : "denied",
  ]);
  const layer = (window.dataLayer = window.dataLayer || []);
  (function () {
    // Google's tags take an arguments object, and no array.
    layer.push(arguments);
  })("consent", command, { ...Object.fromEntries(signals), ...(command === "default" && { wait_for_update: 500 }) });
}
