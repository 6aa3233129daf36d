// Periods in words.

import { clock, date, day, month } from "./format.js";
import { t } from "./texts.js";

const DAY_MS = 86400000;

const last = (to) => new Date(to.getTime() - 1);
const isMidnight = (moment) => moment.getTime() % DAY_MS === 0;
const isFirst = (moment) => isMidnight(moment) && moment.getUTCDate() === 1;

function range(from, to) {
  const end = last(to);
  if (isFirst(from) && isFirst(to)) {
    return month(from) === month(end) ? month(from) : t("fromTo", { from: month(from), to: month(end) });
  }
  if (isMidnight(from) && isMidnight(to)) return to - from === DAY_MS ? date(from) : t("fromTo", { from: date(from), to: date(end) });
  const at = (moment) => (to - from > 7 * DAY_MS ? date(moment) : day(moment)) + (isMidnight(moment) ? "" : ` ${clock(moment)}`);
  return t("fromTo", { from: at(from), to: at(to) });
}

export const describe = ({ from, to }) => range(from, to);

/** Of a period that is not over: the same part of the one before. */
export function describeBefore({ beforeFrom, beforeTo, beforeEnd }) {
  if (beforeTo.getTime() === beforeEnd.getTime() || isMidnight(beforeTo)) return range(beforeFrom, beforeTo);
  return beforeTo - beforeFrom < DAY_MS && isMidnight(beforeFrom)
    ? t("until", { day: date(beforeFrom), time: clock(beforeTo) })
    : range(beforeFrom, beforeTo);
}
