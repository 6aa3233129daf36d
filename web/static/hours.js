// Revenue by hour, as a line; each hour can be read with the pointer, the arrow keys, or in the table.

import { byId, element, follow, setText } from "./elements.js";
import { clock, count, day, euros, hour, number, shortEuros } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 260;
const MARGIN = { top: 16, right: 16, bottom: 40, left: 56 };
const NARROW = 560;

const chart = byId("hours-chart");
const svg = draw("svg", { height: HEIGHT, role: "img", "aria-labelledby": "hours-title" });
const grid = draw("g", { class: "grid" }, svg);
const labels = draw("g", { class: "labels" }, svg);
const area = draw("path", { class: "area" }, svg);
const line = draw("path", { class: "line" }, svg);
const unfinished = draw("path", { class: "line unfinished" }, svg);
const cursor = draw("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }, svg);
const dot = draw("circle", { class: "point", r: 4.5 }, svg);
const reading = element("div", "reading");
const readingValue = element("strong");
const readingWhen = element("span");
reading.append(readingValue, readingWhen);
chart.append(svg, reading);

let points = [];
let chosen = null;

export function show(rows) {
  points = rows.map((row) => ({ at: hour(row.heure), sales: row.ventes_count, revenue: row.revenue_total }));
  if (chosen !== null && chosen >= points.length) chosen = null;
  layOut();
  setText(byId("hours-range"), points.length ? `${day(points[0].at)}, ${clock(points[0].at)} to ${day(points.at(-1).at)}, ${clock(points.at(-1).at)} UTC` : "");
  follow(byId("hours-table"), [...points].reverse(), (point) => point.at.toISOString(), makeRow, updateRow);
}

function draw(name, attributes = {}, parent = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

const width = () => Math.max(chart.clientWidth, 240);
const x = (index) => MARGIN.left + (index * (width() - MARGIN.left - MARGIN.right)) / Math.max(points.length - 1, 1);
const y = (revenue, top) => HEIGHT - MARGIN.bottom - (revenue / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);

/** Round values from 0 for the axis, at most four above it: steps of 1, 2, 2.5 or 5 times a power of ten. */
function ticks(largest) {
  if (largest <= 0) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(largest / 4));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size * 4 >= largest);
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, index) => index * step);
}

const isRunning = (point) => Date.now() - point.at.getTime() < 3600000;

function layOut() {
  if (!points.length) return;
  svg.setAttribute("viewBox", `0 0 ${width()} ${HEIGHT}`);
  const values = ticks(Math.max(...points.map((point) => point.revenue)));
  const top = values.at(-1);
  const place = (point, index) => `${x(index).toFixed(1)},${y(point.revenue, top).toFixed(1)}`;
  const places = points.map(place);
  const last = points.length - 1;
  const isLastRunning = last > 0 && isRunning(points[last]);
  const drawn = isLastRunning ? places.slice(0, last) : places;
  line.setAttribute("d", `M${drawn.join("L")}`);
  unfinished.setAttribute("d", isLastRunning ? `M${places[last - 1]}L${places[last]}` : "");
  area.setAttribute("d", `M${x(0)},${y(0, top)}L${places.join("L")}L${x(last)},${y(0, top)}Z`);

  grid.replaceChildren();
  labels.replaceChildren();
  const right = width() - MARGIN.right;
  const isEmpty = points.every((point) => point.sales === 0);
  // A flat line of zeros has no scale.
  for (const value of isEmpty ? [0] : values) {
    draw("line", { x1: MARGIN.left, x2: right, y1: y(value, top), y2: y(value, top) }, grid);
    draw("text", { x: MARGIN.left - 10, y: y(value, top) + 4, class: "value" }, labels).textContent = shortEuros(value);
  }
  if (isEmpty) draw("text", { x: (MARGIN.left + right) / 2, y: HEIGHT / 2, class: "none" }, labels).textContent = "No sales in these hours.";
  const every = width() < NARROW ? 6 : 3;
  points.forEach((point, index) => {
    const hours = point.at.getUTCHours();
    if (hours % every === 0) draw("text", { x: x(index), y: HEIGHT - MARGIN.bottom + 18 }, labels).textContent = clock(point.at);
    if (hours === 0) {
      draw("line", { x1: x(index), x2: x(index), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, class: "midnight" }, grid);
      draw("text", { x: x(index), y: HEIGHT - MARGIN.bottom + 33, class: "day" }, labels).textContent = day(point.at);
    }
  });
  read(top);
}

function read(top = ticks(Math.max(...points.map((point) => point.revenue))).at(-1)) {
  const index = chosen ?? points.length - 1;
  const point = points[index];
  dot.setAttribute("cx", x(index));
  dot.setAttribute("cy", y(point.revenue, top));
  cursor.setAttribute("x1", x(index));
  cursor.setAttribute("x2", x(index));
  cursor.toggleAttribute("hidden", chosen === null);
  reading.hidden = chosen === null;
  setText(readingValue, euros(point.revenue));
  setText(readingWhen, describe(point));
  const half = reading.offsetWidth / 2;
  reading.style.left = `${Math.min(Math.max(x(index), half), width() - half)}px`;
  if (chosen !== null && chart.matches(":focus-visible")) {
    setText(byId("hours-reading"), `${euros(point.revenue)}, ${describe(point)}`);
  }
}

function describe(point) {
  return `${day(point.at)}, ${clock(point.at)}${isRunning(point) ? ", so far" : ""}: ${count(point.sales, "sale", "sales")}`;
}

function choose(index) {
  chosen = index;
  if (points.length) read();
}

function makeRow() {
  const row = element("tr");
  const when = element("th");
  when.scope = "row";
  row.append(when, element("td"), element("td"));
  return row;
}

function updateRow(row, point) {
  const [when, sales, revenue] = row.children;
  setText(when, `${day(point.at)}, ${clock(point.at)}`);
  setText(sales, number(point.sales));
  setText(revenue, euros(point.revenue));
}

chart.addEventListener("pointermove", (event) => {
  if (!points.length) return;
  const inside = event.clientX - chart.getBoundingClientRect().left - MARGIN.left;
  const step = (width() - MARGIN.left - MARGIN.right) / Math.max(points.length - 1, 1);
  choose(Math.min(Math.max(Math.round(inside / step), 0), points.length - 1));
});
chart.addEventListener("pointerleave", () => choose(null));
chart.addEventListener("blur", () => choose(null));
chart.addEventListener("keydown", (event) => {
  const last = points.length - 1;
  const moves = { ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: () => last };
  if (event.key === "Escape") return choose(null);
  if (!moves[event.key] || !points.length) return undefined;
  event.preventDefault();
  return choose(Math.min(Math.max(moves[event.key](chosen ?? last + 1), 0), last));
});
new ResizeObserver(layOut).observe(chart);
