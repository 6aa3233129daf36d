// What a tile says where it has no figures: why, in words, and what to do.

import { DIMENSIONS, changed, read } from "./address.js";
import { element, link } from "./elements.js";
import { list, month } from "./format.js";
import { monthName } from "./period.js";
import { t } from "./texts.js";

/** Show why there are no figures in place of a tile's content; null shows the content again. */
export function showRefusal(tile, refusal) {
  const content = tile.querySelector(".content");
  let said = tile.querySelector(":scope > .refusal");
  content.hidden = refusal !== null;
  tile.toggleAttribute("data-refused", refusal !== null);
  if (refusal === null) return said?.remove();
  const key = JSON.stringify([refusal, location.search]);
  if (said?.dataset.key === key) return undefined;
  said?.remove();
  said = element("div", "refusal");
  said.dataset.key = key;
  said.append(element("p", "", sentence(refusal)), ...wayOut(refusal));
  content.after(said);
  return undefined;
}

const named = (names) => list(names.map((name) => t(name).toLowerCase()));

/** @param refusal `{reason, ...}` of an answer that is none */
export function sentence(refusal, keys = []) {
  const state = read();
  const filters = DIMENSIONS.filter((name) => state[name] !== null);
  const { reason } = refusal;
  if (reason === "noView") {
    const together = [...new Set([...(refusal.keys ?? keys), ...filters])];
    const parts = [...together.map((name) => t(name).toLowerCase()), ...(refusal.isByHour ? [t("byHour")] : [])];
    if (!parts.length) return t("noViewSimple");
    return t(parts.length > 1 ? "noView" : "noViewOne", { what: list(parts) });
  }
  if (refusal.dimensions) return t(reason, { what: named(refusal.dimensions) });
  return t(reason, { message: refusal.message });
}

/** A link to where there are figures; the filters are cleared where they were set. */
function wayOut(refusal) {
  if (refusal.reason !== "byMonthOnly") return [];
  return [link(changed({ period: monthName(refusal.month) }), t("showMonth", { month: month(refusal.month) }), "action")];
}
