// Which language the page is in: what was chosen, else the browser's, else English.

const LANGUAGES = ["en", "fr"];
const KEPT = "salesviews.language";

let language = null;

export function languageOf() {
  language ??= [kept(), ...navigator.languages.map((each) => each.slice(0, 2))].find((each) => LANGUAGES.includes(each)) ?? "en";
  return language;
}

/** The locale of numbers and dates: the browser's own where it is of the page's language (`en-GB`, `fr-CA`). */
export const locale = () => navigator.languages.find((each) => each.slice(0, 2) === languageOf()) ?? languageOf();

/** Speak another language from now on, in this browser. */
export function choose(other) {
  try {
    localStorage.setItem(KEPT, other);
  } catch {
    return; // A browser that keeps nothing speaks its own language.
  }
  location.reload();
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

const numbers = new Intl.NumberFormat(locale());
const plurals = new Intl.PluralRules(languageOf());

export const plain = { number: (value) => numbers.format(value), select: (value) => plurals.select(value) };
