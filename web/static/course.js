// Revenue over a period, as a line, with the period before behind it; each point can be read with the pointer, the
// arrow keys, or in the table.

import { byId, element, follow, setLink, setText } from "./elements.js";
import { clock, date, day, decimal, euros, list, month, number, shortDate, shortEuros, shortMonth } from "./format.js";
import { granularity, starts } from "./period.js";
import { showRefusal } from "./refusals.js";
import { t } from "./texts.js";

const { uPlot } = globalThis;
const HEIGHT = 260;
const COLUMNS = { hour: "heure", day: "jour", month: "debut_mois" };
const TITLES = { hour: "byHourTitle", day: "byDayTitle", month: "byMonthTitle" };
const ANOMALIES = 5;

const place = byId("course-chart");
const reading = byId("course-reading");
const marker = element("div", "reading");
const markerValue = element("strong");
const markerWhen = element("span");
const markerBefore = element("span", "before");
marker.append(markerValue, markerWhen, markerBefore);

let plot = null;
let points = [];
let step = "hour";
let chosen = null;
let hrefOf = () => null;

/** @param href makes the address behind a point, of the view and the start and end of it */
export function show({ course, courseBefore, anomalies }, period, href) {
  const tile = byId("course");
  showRefusal(tile, course.refusal ?? null);
  setText(byId("course-note"), course.note === "day" ? t("onlyByDay") : "");
  showAnomalies(anomalies);
  if (course.refusal) return;
  step = course.note ?? granularity(period);
  hrefOf = (from, to) => href(course, from, to);
  setText(byId("course-aside"), t(TITLES[step]));
  points = pointsOf(course.data, period.from, period.to, period.seen);
  const before = (courseBefore.data && pointsOf(courseBefore.data, period.beforeFrom, period.beforeEnd, period.beforeEnd)) ?? [];
  points.forEach((point, index) => {
    point.before = before[index] ?? null;
    point.isRunning = point.end > period.seen.getTime() - 3600000 && point.start < period.seen;
  });
  if (chosen !== null && chosen >= points.length) chosen = null;
  draw();
  const rows = points.filter((point) => point.revenue !== null).reverse();
  follow(byId("course-table"), rows, (point) => point.start.toISOString(), makeRow, updateRow);
}

/** A point for each hour, day or month; null beyond what can have been sold yet. */
function pointsOf(rows, from, to, seen) {
  const byStart = new Map(rows.map((row) => [new Date(row[COLUMNS[step]]).getTime(), row]));
  const all = starts(from, to, step);
  return all.map((start, index) => {
    const row = byStart.get(start.getTime());
    const isFuture = start >= seen && !row;
    return {
      start,
      end: all[index + 1] ?? to,
      revenue: isFuture ? null : Number(row?.revenue_total ?? 0),
      text: row?.revenue_total ?? 0,
      sales: row?.ventes_count ?? 0,
    };
  });
}

function showAnomalies(answer) {
  if (answer.refusal) return setText(byId("course-anomalies"), "");
  const found = answer.data.slice(-ANOMALIES).reverse();
  const described = found.map((each) => {
    const at = new Date(each.heure);
    return t("anomalyHigh", { when: `${day(at)} ${clock(at)}`, sales: t("sales", { count: each.ventes_count }), expected: decimal(each.attendu) });
  });
  return setText(byId("course-anomalies"), found.length ? t("anomalies", { list: list(described) }) : "");
}

// ---- The chart ------------------------------------------------------------------------------------------------------

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw() {
  const data = [points.map((point) => point.start.getTime() / 1000), points.map((point) => point.before?.revenue ?? null), points.map((point) => point.revenue)];
  const isEmpty = points.every((point) => !point.sales && !point.before?.sales);
  byId("course-empty").hidden = !isEmpty;
  place.hidden = isEmpty;
  if (isEmpty) return;
  // One point is no line.
  const showsPoints = points.filter((point) => point.revenue !== null).length < 2;
  const key = [step, showsPoints].join();
  if (plot && plot.key === key) {
    plot.setData(data);
  } else {
    plot?.destroy();
    plot = new uPlot(options(showsPoints), data, place);
    plot.key = key;
    plot.root.querySelector(".u-over").append(marker);
    plot.ctx.canvas.setAttribute("role", "img");
    plot.ctx.canvas.setAttribute("aria-label", t("courseTitle"));
  }
  read(chosen);
}

function options(showsPoints) {
  const axis = { stroke: () => colour("--ink-soft"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: () => colour("--rule"), width: 1 };
  return {
    width: Math.max(place.clientWidth, 200),
    height: HEIGHT,
    legend: { show: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    padding: [14, 26, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 9, fill: () => colour("--accent"), stroke: () => colour("--sheet"), width: 2 } },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most, 0.01) * 1.08] } },
    axes: [
      { ...axis, grid: { show: false }, values: (_, splits) => splits.map(tick), space: 64, size: 34 },
      { ...axis, grid, size: 62, values: (_, splits) => splits.map((value) => shortEuros(value)) },
    ],
    series: [
      {},
      { stroke: () => colour("--before"), width: 1.75, dash: [5, 5], points: { show: false } },
      { stroke: () => colour("--accent"), width: 2.25, fill: () => colour("--accent-soft"), points: { show: showsPoints, size: 8 } },
    ],
    hooks: { setCursor: [(made) => read(made.cursor.idx ?? null, true)] },
  };
}

/** uPlot gives days by their midnight, hours by their start. */
function tick(seconds) {
  const at = new Date(seconds * 1000);
  if (step === "month") return shortMonth(at);
  return at.getTime() % 86400000 === 0 ? shortDate(at) : clock(at);
}

function name(start) {
  if (step === "month") return month(start);
  return step === "day" ? date(start) : `${day(start)}, ${clock(start)}`;
}

function describe(point) {
  return `${name(point.start)}${point.isRunning ? `, ${t("soFar")}` : ""}: ${t("sales", { count: point.sales })}`;
}

function read(index, isPointer = false) {
  chosen = index;
  const point = index === null ? null : points[index];
  marker.hidden = !point || point.revenue === null;
  if (marker.hidden) return;
  setText(markerValue, euros(point.text));
  setText(markerWhen, describe(point));
  setText(markerBefore, point.before ? `${t("before")}: ${euros(point.before.text)}` : "");
  const half = marker.offsetWidth / 2;
  const x = plot.valToPos(point.start.getTime() / 1000, "x");
  marker.style.left = `${Math.min(Math.max(x, half), plot.over.clientWidth - half)}px`;
  // Only who goes through the points with keys is told each of them.
  if (!isPointer && place.matches(":focus-visible")) setText(reading, `${euros(point.text)}, ${describe(point)}`);
}

place.addEventListener("keydown", (event) => {
  const last = points.findLastIndex((point) => point.revenue !== null);
  const moves = { ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: () => last };
  if (!plot || last < 0) return;
  if (event.key === "Escape") {
    plot.setCursor({ left: -10, top: -10 });
    read(null);
  } else if (event.key === "Enter" && chosen !== null) {
    byId("course-table").querySelector(`[data-key="${points[chosen].start.toISOString()}"] a`)?.click();
  } else if (moves[event.key]) {
    event.preventDefault();
    const next = Math.min(Math.max(moves[event.key](chosen ?? last + 1), 0), last);
    plot.setCursor({ left: plot.valToPos(points[next].start.getTime() / 1000, "x"), top: 0 }, false);
    read(next);
  }
});
place.addEventListener("blur", () => read(null));
place.addEventListener("click", () => {
  if (chosen !== null) byId("course-table").querySelector(`[data-key="${points[chosen].start.toISOString()}"] a`)?.click();
});
new ResizeObserver(() => plot && place.clientWidth && plot.setSize({ width: Math.max(place.clientWidth, 200), height: HEIGHT })).observe(place);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", () => plot?.redraw(false));

// ---- The table ------------------------------------------------------------------------------------------------------

function makeRow() {
  const row = element("tr");
  const when = element("th");
  when.scope = "row";
  const revenue = element("td");
  revenue.append(element("a", "figure"));
  row.append(when, element("td"), revenue, element("td"));
  return row;
}

function updateRow(row, point) {
  const [when, sales, revenue, before] = row.children;
  setText(when, name(point.start));
  setText(sales, number(point.sales));
  setLink(revenue.firstChild, point.sales ? hrefOf(point.start, point.end) : null, euros(point.text));
  setText(before, point.before ? euros(point.before.text) : "–");
}
