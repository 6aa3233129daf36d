// The dashboard: asks which snapshot is served, and where it is a new one, asks for the figures and shows them.

import { ask, askTogether, ServerError } from "./api.js";
import { byId, setText } from "./elements.js";
import { euros, hour, number, wholeEuros } from "./format.js";
import { serverAnswered, serverFailed } from "./freshness.js";
import * as hours from "./hours.js";
import * as markets from "./markets.js";
import * as quality from "./quality.js";
import * as ranking from "./ranking.js";

const INTERVAL_MS = 2000;

/** The figures that are shown: of which snapshot of which server, and of which month. */
let shown = "";

async function refresh() {
  try {
    const status = await ask("/api/status");
    serverAnswered(status);
    if (status.snapshot && key(status) !== shown) await showFigures(status);
  } catch (error) {
    serverFailed(error instanceof ServerError ? `${error.status}: ${error.message}` : "no connection");
  }
}

// A server that was started again, perhaps on another lake, may serve other figures under the same id.
const key = (status) => [status.data.started_at, status.snapshot.id, markets.path()].join(" ");

async function showFigures(status) {
  const before = markets.path();
  const { data } = await askTogether({
    hours: "/api/hourly_sales",
    ranking: "/api/top_products",
    quality: "/api/quality",
    markets: before,
  });
  if (markets.suggestMonth(hour(data.hours.at(-1).heure))) return showFigures(status);
  // Another month may have been chosen meanwhile: its rows come with the next refresh.
  if (markets.path() === before) markets.show(data.markets);
  showHeadline(data.hours);
  hours.show(data.hours);
  ranking.show(data.ranking);
  quality.show(data.quality);
  byId("figures").setAttribute("aria-busy", "false");
  shown = [status.data.started_at, status.snapshot.id, before].join(" ");
  return undefined;
}

function showHeadline(rows) {
  const cents = rows.reduce((sum, row) => sum + Math.round(row.revenue_total * 100), 0);
  const sales = rows.reduce((sum, row) => sum + row.ventes_count, 0);
  setText(byId("headline-revenue"), wholeEuros(cents / 100));
  setText(byId("headline-sales"), number(sales));
  setText(byId("headline-basket"), sales ? euros(cents / sales / 100) : "–");
}

/** One refresh at a time: the next one waits for the one before, however slow the server is. */
let running = Promise.resolve();
function refreshSoon() {
  running = running.then(refresh);
  return running;
}

async function keepFresh() {
  // A page that nobody sees asks for nothing.
  if (!document.hidden) await refreshSoon();
  setTimeout(keepFresh, INTERVAL_MS);
}

markets.onMonth(refreshSoon);
document.addEventListener("visibilitychange", () => document.hidden || refreshSoon());
keepFresh();
