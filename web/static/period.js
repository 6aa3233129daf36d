// Periods of time, all in UTC: what a name like `7d` or `2026-02` means, and which period was before.

export const DEFAULT = "today";
export const PRESETS = { today: "today", "24h": "hours24", "7d": "days7", "30d": "days30", "12m": "months12" };

const HOUR_MS = 3600000;
const DAY_MS = 24 * HOUR_MS;

export const startOfDay = (date) => new Date(Math.floor(date.getTime() / DAY_MS) * DAY_MS);
const startOfMonth = (date, months = 0) => new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + months));
const after = (date, ms) => new Date(date.getTime() + ms);
const isStartOfMonth = (date) => date.getTime() === startOfMonth(date).getTime();
const isStartOfDay = (date) => date.getTime() % DAY_MS === 0;
const monthsBetween = (from, to) => (to.getUTCFullYear() - from.getUTCFullYear()) * 12 + to.getUTCMonth() - from.getUTCMonth();

/**
 * A period: from its start to before its end.
 *
 * `seen` is the end of the latest hour that has sales: a period that goes beyond it is not over, and is compared with
 * the same part of the one before, which ends at `beforeTo`; that whole one is from `beforeFrom` to `beforeEnd`.
 */
export function of(name, latestHour) {
  const seen = after(latestHour, HOUR_MS);
  const [from, to] = bounds(name, latestHour) ?? bounds(DEFAULT, latestHour);
  const hasMonths = isStartOfMonth(from) && isStartOfMonth(to);
  const beforeFrom = hasMonths ? startOfMonth(from, -monthsBetween(from, to)) : after(from, from - to);
  const isRunning = from < seen && seen < to;
  const beforeTo = isRunning ? new Date(Math.min(after(beforeFrom, seen - from), from)) : from;
  return { name, from, to, seen, isRunning, beforeFrom, beforeTo, beforeEnd: from, hasMonths, hasDays: isStartOfDay(from) && isStartOfDay(to) };
}

function bounds(name, latestHour) {
  const today = startOfDay(latestHour);
  const tomorrow = after(today, DAY_MS);
  if (name === "today") return [today, tomorrow];
  if (name === "24h") return [after(latestHour, -23 * HOUR_MS), after(latestHour, HOUR_MS)];
  if (name === "7d") return [after(tomorrow, -7 * DAY_MS), tomorrow];
  if (name === "30d") return [after(tomorrow, -30 * DAY_MS), tomorrow];
  if (name === "12m") return [startOfMonth(today, -11), startOfMonth(today, 1)];
  if (isMonth(name)) return [new Date(`${name}-01T00:00:00Z`), startOfMonth(new Date(`${name}-01T00:00:00Z`), 1)];
  const dates = datesOf(name);
  return dates && [dates[0], after(dates[1], DAY_MS)];
}

export const isMonth = (name) => /^\d{4}-(0[1-9]|1[0-2])$/.test(name ?? "") && name >= "1000";

/** The first and the last day that `2026-02-03..2026-02-10` names; null where it is no such name. */
export function datesOf(name) {
  const found = /^(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)$/.exec(name ?? "");
  if (!found) return null;
  const [first, last] = found.slice(1).map((text) => new Date(`${text}T00:00:00Z`));
  return Number.isNaN(first.getTime()) || Number.isNaN(last.getTime()) || last < first || first.getUTCFullYear() < 1000 ? null : [first, last];
}

export const monthName = (date) => date.toISOString().slice(0, 7);
export const dayName = (date) => date.toISOString().slice(0, 10);
export const stepMonth = (name, months) => monthName(startOfMonth(new Date(`${name}-01T00:00:00Z`), months));

const STEPS = {
  hour: (date, count) => after(date, count * HOUR_MS),
  day: (date, count) => after(date, count * DAY_MS),
  month: (date, count) => startOfMonth(date, count),
};

/** The finest granularity in which a line over a period can still be read. */
export function granularity({ from, to }) {
  const days = (to - from) / DAY_MS;
  if (days <= 8) return "hour";
  return days <= 400 ? "day" : "month";
}

/** The starts of the hours, days or months of a period. */
export function starts(from, to, step) {
  const found = [];
  const first = step === "hour" ? from : step === "day" ? startOfDay(from) : startOfMonth(from);
  for (let count = 0; ; count += 1) {
    const start = STEPS[step](first, count);
    if (start >= to) return found;
    found.push(start);
  }
}
