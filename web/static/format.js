// Figures as text, in the page's language. An amount or a count too long for a number comes as text, and stays exact.

import { languageOf, locale, plain } from "./language.js";

const utc = (options) => new Intl.DateTimeFormat(locale(), { timeZone: "UTC", ...options });
const digits = (options) => new Intl.NumberFormat(locale(), options);
const inEuros = { style: "currency", currency: "EUR" };

const exact = digits(inEuros);
const whole = digits({ ...inEuros, maximumFractionDigits: 0 });
const compact = digits({ ...inEuros, notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0 });
const compactNumber = digits({ notation: "compact", maximumFractionDigits: 1 });
const oneDecimal = digits({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percentage = digits({ style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const change = digits({ style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });
const quality = digits({ style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const hourOf = utc({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayOf = utc({ weekday: "short", day: "numeric", month: "short" });
const dateOf = utc({ day: "numeric", month: "long", year: "numeric" });
const shortDateOf = utc({ day: "numeric", month: "short" });
const monthOf = utc({ month: "long", year: "numeric" });
const shortMonthOf = utc({ month: "short", year: "2-digit" });
const instantOf = utc({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const listOf = new Intl.ListFormat(languageOf(), { type: "conjunction" });

/** Cents matter in small amounts; in large ones they are noise. */
const CENTS_BELOW = 100000;

export const number = plain.number;
export const shortNumber = (value) => compactNumber.format(value);
export const decimal = (value) => oneDecimal.format(value);
export const euros = (value) => exact.format(value);
export const wholeEuros = (value) => whole.format(value);
export const shortEuros = (value) => compact.format(value);
export const headlineEuros = (value) => (Math.abs(value) < CENTS_BELOW ? exact : whole).format(value);
export const share = (part, all) => (all > 0 ? percentage.format(part / all) : "–");
export const percentOf = (part, all) => (all > 0 ? quality.format(part / all) : "–");
export const changed = (now, before) => change.format((now - before) / before);
export const changedPct = (percent) => change.format(percent / 100);
export const clock = (date) => hourOf.format(date);
export const day = (date) => dayOf.format(date);
export const date = (of) => dateOf.format(of);
export const shortDate = (of) => shortDateOf.format(of);
export const month = (of) => monthOf.format(of);
export const shortMonth = (of) => shortMonthOf.format(of);
export const instant = (of) => instantOf.format(of);
export const list = (texts) => listOf.format(texts);

const weekday = utc({ weekday: "long" });
const shortWeekday = utc({ weekday: "short" });
const MONDAY_MS = Date.UTC(2024, 0, 1);
const ofWeek = (number_) => new Date(MONDAY_MS + (number_ - 1) * 86400000);

/** 1 is Monday. */
export const weekdayName = (number_) => weekday.format(ofWeek(number_));
export const shortWeekdayName = (number_) => shortWeekday.format(ofWeek(number_));

const unit = (name, value) => digits({ style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 1 }).format(value);

export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${oneDecimal.format(seconds)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return unit("minute", Math.floor(seconds / 60));
  if (seconds < 172800) return unit("hour", Math.floor(seconds / 3600));
  return unit("day", Math.floor(seconds / 86400));
}
