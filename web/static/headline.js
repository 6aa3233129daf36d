// The key figures, each beside the period before.

import { byId, setAttribute, setLink, setText } from "./elements.js";
import { changed, euros, headlineEuros, number } from "./format.js";
import { describeBefore } from "./period_text.js";
import { sentence, showRefusal } from "./refusals.js";
import { t } from "./texts.js";

/** @param href makes the address behind a figure, of the view that it is from */
export function show({ totals, totalsBefore, clients, clientsBefore }, period, href) {
  const now = totals.data?.[0];
  const before = totalsBefore.data?.[0];
  const totalsHref = totals.data ? href(totals) : null;
  const isWhole = totalsBefore.note === "whole";
  const figures = [
    ["revenue", totals, now?.revenue_total, totalsBefore, before?.revenue_total, headlineEuros, euros],
    ["sales", totals, now?.ventes_count, totalsBefore, before?.ventes_count, number, number],
    ["basket", totals, now?.panier_moyen, totalsBefore, before?.panier_moyen, headlineEuros, euros],
    ["customers", clients, clients.data?.[0].clients, clientsBefore, clientsBefore.data?.[0].clients, number, number],
  ];
  for (const [name, answer, value, answerBefore, valueBefore, short, exact] of figures) {
    const tile = byId(`headline-${name}`);
    showRefusal(tile, answer.refusal ?? null);
    const figure = tile.querySelector(".figure");
    setLink(figure, value === null ? null : totalsHref, value === null || value === undefined ? "–" : short(value));
    setAttribute(figure, "title", value === null || value === undefined ? null : exact(value));
    compare(tile.querySelector(".compared"), value, valueBefore, short, answerBefore, period, isWhole && name !== "customers");
  }
}

function compare(place, value, before, short, answer, period, isWhole) {
  if (answer.refusal) {
    setText(place, t("beforeUnknown", { why: sentence(answer.refusal) }));
    delete place.dataset.trend;
  } else if (!Number(before)) {
    setText(place, t("nothingBefore"));
    delete place.dataset.trend;
  } else {
    const change = changed(Number(value ?? 0), Number(before));
    setText(place, t("against", { change, before: short(before) }));
    place.dataset.trend = Math.sign(Number(value ?? 0) - Number(before));
  }
  setAttribute(place, "title", isWhole ? t("wholePeriod") : describeBefore(period));
}
