// Figures as text. Money is in euros.

const language = document.documentElement.lang;

const wholeNumber = new Intl.NumberFormat(language);
const money = new Intl.NumberFormat(language, { style: "currency", currency: "EUR" });
const wholeMoney = new Intl.NumberFormat(language, { style: "currency", currency: "EUR", maximumFractionDigits: 0 });
const shortMoney = new Intl.NumberFormat(language, {
  style: "currency", currency: "EUR", notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0,
});
const percentage = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const monthName = new Intl.DateTimeFormat(language, { month: "long", year: "numeric", timeZone: "UTC" });
const dayName = new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

export const number = (value) => wholeNumber.format(value);
export const euros = (value) => money.format(value);
export const wholeEuros = (value) => wholeMoney.format(value);
export const shortEuros = (value) => shortMoney.format(value);
export const percent = (value) => (value === null ? "–" : `${percentage.format(value)}%`);
export const month = (date) => monthName.format(date);
export const day = (date) => dayName.format(date);
export const count = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;

/** `2025-12-22 10:00` of the API, which is UTC. */
export const hour = (text) => new Date(`${text.replace(" ", "T")}:00Z`);

export const clock = (date) => date.toISOString().slice(11, 16);

export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}
