// Who opened the page, from the fragment of its address, which no server ever sees.

const KEPT = "candor.preferences";

/**
 * Take visitor or link out of the address bar and keep them for this tab. Gives `{authorization, visitor, link, key,
 * jurisdiction}`, or null when there are none, or when the page is about to load again in the language that the fragment
 * asks for.
 */
export function take() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const language = fragment.get("language");
  if (language) {
    fragment.delete("language");
    if (language !== document.documentElement.lang) {
      location.replace(`${location.pathname}?${new URLSearchParams({ language })}#${fragment}`);
      return null;
    }
  }
  const given = Object.fromEntries(["visitor", "link", "key", "jurisdiction"].map((name) => [name, fragment.get(name)]));
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  const found = given.visitor || given.link ? given : kept();
  if (!found) return null;
  keep(found);
  const authorization = found.link ? `Link ${found.link}` : `Visitor ${found.visitor}`;
  return { authorization, ...found };
}

/** What the visitor claims to be: `{anonymous_id, secret}`. Throws when it is not of that form. */
export function claimed(visitor) {
  const [id, secret] = visitor.split(".");
  const bytes = Uint8Array.from(atob(id.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  return { anonymous_id: new TextDecoder().decode(bytes), secret };
}

// Where a browser allows no storage, the page forgets them when it is loaded again.
function keep(found) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(found));
  } catch {}
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}
