// The two layers and the button that opens them again, drawn by vanilla-cookieconsent.

const OPENER = '[data-candor="open"]';
let library;

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt()};`);

function translation() {
  const texts = Object.fromEntries(Object.entries(policy.texts).map(([name, text]) => [name, escaped(text)]));
  const more = `<a href="${base}transparency?language=${policy.language}">${texts.more}</a>`;
  const note = gpc ? `<span class="candor-gpc">${texts.gpc}</span>` : "";
  const named = policy.purposes.map(({ name }) => `<span>${escaped(name)}</span>`).join(" ");
  const buttons = { acceptAllBtn: texts.accept, acceptNecessaryBtn: texts.reject, closeIconLabel: texts.close };
  const sections = policy.purposes.map((purpose) => ({
    title: escaped(purpose.name) + (gpc && purpose.gpc ? '<span class="candor-mark">GPC</span>' : ""),
    description: escaped(purpose.description),
    linkedCategory: purpose.id,
  }));
  return {
    consentModal: {
      title: texts.title,
      description: `${texts.body} ${more}<span class="candor-purposes">${named}</span>${note}`,
      showPreferencesBtn: texts.choose,
      ...buttons,
    },
    preferencesModal: {
      title: texts.reopen,
      savePreferencesBtn: texts.save,
      sections: [{ description: `${texts.body} ${more}${note}` }, ...sections],
      ...buttons,
    },
  };
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
  // A style element would need the leave of the site's Content-Security-Policy.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  // It gets a storage that remembers nothing: candor.choice is the one memory.
  library = loadLibrary({ getItem: () => null, setItem() {}, removeItem() {} });
  await library.run({
    root,
    // What is enabled holds until something else is chosen.
    mode: "opt-out",
    autoShow: false,
    autoClearCookies: false,
    hideFromBots: false,
    cookie: { useLocalStorage: true },
    guiOptions: { consentModal: { layout: "box inline", position: "bottom left" } },
    categories: each((purpose) => ({ enabled: allowed(purpose) })),
    language: { default: policy.language, translations: { [policy.language]: translation() } },
    onModalReady: mend,
  });
  addOpener(root);
}

// The first layer is no modal dialog, whatever the library claims of it (orestbida/cookieconsent#797): the page stays
// usable. So it is a region that comes first in the page, takes no focus and lets it go.
function mend({ modalName, modal }) {
  if (modalName === "consentModal") {
    modal.setAttribute("role", "region");
    modal.removeAttribute("aria-modal");
    modal.firstChild.removeAttribute("tabindex");
    return;
  }
  // What the purposes mean is read without a click.
  for (const title of modal.querySelectorAll("button.pm__section-title")) title.click();
}

function pressed(event) {
  if (!event.target.closest(".cm")) return;
  // The library would keep the focus in.
  if (event.key === "Tab") event.stopPropagation();
  if (event.key === "Escape") dismiss();
}

// Each answer is ours to take: the library knows nothing of methods, closing and GPC.
function clicked(event) {
  if (event.target.closest(".cm__btn--close")) {
    event.stopPropagation();
    return dismiss();
  }
  const button = event.target.closest("[data-role]");
  const answer = button && ANSWERING[button.dataset.role];
  if (!answer) return;
  event.stopPropagation();
  answer(event.currentTarget);
  library.hidePreferences();
  library.hide();
}

const ANSWERING = {
  // Under GPC a yes to everything is no yes to what GPC denies: that takes its own switch.
  all: () => decide("accept", each((purpose) => !overruled(purpose))),
  necessary: () => decide("reject", each(() => false)),
  save(root) {
    const switches = [...root.querySelectorAll(".section__toggle")];
    decide("save", Object.fromEntries(switches.map(({ value, checked }) => [value, checked])));
  },
};

// Closed without an answer. What was chosen before stays; where nothing was, it is a no until it is asked again.
function dismiss() {
  write({ dismissed_at: new Date().toISOString() });
  if (policy.regime === "opt_in" && !saved.answered) decide("dismiss", each(() => false));
  library.hide();
}

function ask() {
  if (dismissed() || (answered() && sameTexts())) return;
  library.show(true);
  const { text_hash, language, jurisdiction } = policy;
  post("v1/policy/shown", { language, jurisdiction, text_hash });
}

// Whatever of the page bears data-candor="open", else a button of our own.
function addOpener(root) {
  addEventListener("click", (event) => {
    if (!event.target.closest(OPENER)) return;
    event.preventDefault();
    library.showPreferences();
  });
  if (document.querySelector(OPENER)) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "candor-open";
  button.dataset.candor = "open";
  button.textContent = policy.texts.reopen;
  root.append(button);
}
