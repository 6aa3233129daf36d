// The dashboard: asks which snapshot is served, and where it is a new one or the address says something else, asks for
// the figures and shows them.

import { changed, follow, read } from "./address.js";
import { ask, askTogether, ServerError } from "./api.js";
import * as course from "./course.js";
import * as customers from "./customers.js";
import { byId } from "./elements.js";
import * as filters from "./filters.js";
import { serverAnswered, serverFailed } from "./freshness.js";
import * as headline from "./headline.js";
import { choose, languageOf } from "./language.js";
import * as live from "./live.js";
import * as months from "./months.js";
import * as period from "./period.js";
import * as pipeline from "./pipeline.js";
import * as quality from "./quality.js";
import { CHOICES, LATEST, periodName, questions, traceOf } from "./questions.js";
import * as shares from "./shares.js";
import { t, translate } from "./texts.js";
import * as trace from "./trace.js";
import * as week from "./week.js";

/** The figures that are shown: of which snapshot of which server, and of which filters. */
let shown = "";

/** Figures that are asked for again while others are on their way: what came in between counts. */
let running = null;
let isWanted = false;

async function refresh() {
  try {
    const status = await ask("/api/status");
    serverAnswered(status);
    pipeline.show(status);
    if (status.snapshot && key(status, read()) !== shown) await showFigures(status);
  } catch (error) {
    const isRefused = error.status === 401;
    serverFailed(error instanceof ServerError ? `${error.status}: ${error.message}` : t("noConnection"), isRefused);
  }
}

// A server that was started again, perhaps on another lake, may serve other figures under the same id.
const filtersKey = ({ trace: _, ...state }) => JSON.stringify(state);
const key = (status, state) => [status.data.started_at, status.snapshot.id, filtersKey(state)].join(" ");

async function showFigures(status) {
  const state = read();
  const main = byId("figures");
  const isOther = main.dataset.state !== filtersKey(state);
  if (isOther) main.dataset.pending = "";
  const latest = await ask(LATEST);
  // A sale may be dated a day ahead of the snapshot, by a wrong clock: it does not move the periods.
  const written = new Date(status.snapshot.created_at);
  const hour = latest.data.length ? new Date(latest.data[0].heure) : written;
  const chosen = period.of(periodName(state), hour < written ? hour : new Date(Math.floor(written / 3600000) * 3600000));
  const { choices, ...answers } = await askTogether({ choices: { path: CHOICES }, ...questions(state, chosen) });
  // The address may say something else by now: its figures are on their way.
  if (filtersKey(read()) !== filtersKey(state)) return;
  const href = (answer, more = {}) => changed({ trace: traceOf(state, chosen, { view: answer.view, snapshot: answer.snapshot.id, more }) });
  const between = (answer, from, to) => href(answer, { from: iso(from), to: iso(to) });
  filters.show(state, chosen, choices.data ?? []);
  headline.show(answers, chosen, href);
  course.show(answers, chosen, between);
  shares.show(answers, href);
  months.show(answers, chosen, (answer, start) => between(answer, start, new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1))));
  week.show(answers, href);
  customers.show(answers);
  quality.show(answers, href);
  main.setAttribute("aria-busy", "false");
  main.dataset.state = filtersKey(state);
  main.dataset.snapshot = status.snapshot.id;
  delete main.dataset.pending;
  shown = key(status, state);
}

const iso = (date) => date.toISOString().replace(".000Z", "Z");

/** One refresh at a time; what is wanted meanwhile is one more after it. */
function refreshSoon() {
  isWanted = true;
  running ??= (async () => {
    while (isWanted) {
      isWanted = false;
      await refresh();
    }
    running = null;
  })();
  return running;
}

document.documentElement.lang = languageOf();
document.title = t("title");
translate();
byId("language").value = languageOf();
byId("language").addEventListener("change", (event) => choose(event.target.value));
byId("print").addEventListener("click", () => print());
follow((state) => {
  trace.show(state);
  refreshSoon();
});
trace.show(read());
live.start(refreshSoon);
