// What the page shows, as the address says it: it survives a reload, goes back and forward, and can be sent to others.

export const DIMENSIONS = ["pays", "categorie", "produit_nom", "segment"];

const FIELDS = ["period", ...DIMENSIONS, "trace"];

const followers = [];

/** `{period, pays, categorie, produit_nom, segment, trace}`: text, or null where the address says nothing. */
export function read() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(FIELDS.map((name) => [name, given.get(name)]));
}

/** The address that differs from this one by some fields; null takes one away. */
export function changed(changes) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...read(), ...changes })) {
    if (value !== null && value !== undefined) search.set(name, value);
  }
  const text = search.toString();
  return text ? `?${text}` : location.pathname;
}

export function go(changes, { replace = false } = {}) {
  const target = changed(changes);
  if (target === (location.search || location.pathname)) return;
  history[replace ? "replaceState" : "pushState"]({ isOurs: true }, "", target);
  tell();
}

/** Call back whenever the address says something else. */
export function follow(callback) {
  followers.push(callback);
}

const tell = () => followers.forEach((callback) => callback(read()));

addEventListener("popstate", tell);

// Links to this page change what it shows, and load nothing; with a modifier key they open another one as ever.
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.origin !== location.origin || link.pathname !== location.pathname || link.hash) return;
  event.preventDefault();
  if (link.search === location.search) return;
  history.pushState({ isOurs: true }, "", link.href);
  tell();
});
