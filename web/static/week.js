// The shape of the week: a table of hours and days, whose cells are the darker the more is sold. On a narrow screen the
// days are the columns.

import { byId, element, setAttribute, setLink } from "./elements.js";
import { decimal, euros, shortNumber, shortWeekdayName, weekdayName } from "./format.js";
import { showRefusal } from "./refusals.js";
import { t } from "./texts.js";

const DAYS = [1, 2, 3, 4, 5, 6, 7];
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const narrow = matchMedia("(max-width: 900px)");
const table = byId("week-table");

let shown = null;
const cells = new Map();

/** @param href makes the address behind a cell, of the view that it is from */
export function show({ week: answer }, href) {
  const section = byId("week");
  showRefusal(section, answer.refusal ? { ...answer.refusal, isByHour: true } : null);
  if (answer.refusal) return;
  shown = { answer, href };
  if (!cells.size) build();
  fill();
}

const hourText = (hour) => String(hour).padStart(2, "0");
const key = (day, hour) => `${day}-${hour}`;

function build() {
  const focused = document.activeElement?.closest?.("#week-table [data-cell]")?.dataset.cell;
  table.replaceChildren(element("caption", "hidden", `${t("weekTitle")}, ${t("weekAside")}`));
  cells.clear();
  const [lines, columns] = narrow.matches ? [HOURS, DAYS] : [DAYS, HOURS];
  const nameOf = (value) => (lines === HOURS ? hourText(value) : shortWeekdayName(value));
  const columnOf = (value) => (columns === HOURS ? hourText(value) : shortWeekdayName(value));
  const head = element("tr");
  head.append(element("td"), ...columns.map((value) => heading(columnOf(value), "col")));
  const body = lines.map((line) => {
    const row = element("tr");
    row.append(heading(nameOf(line), "row"));
    for (const column of columns) {
      const [day, hour] = lines === DAYS ? [line, column] : [column, line];
      const cell = element("td");
      const figure = element("a", "figure");
      figure.dataset.cell = key(day, hour);
      figure.tabIndex = -1;
      cell.append(figure);
      cells.set(key(day, hour), figure);
      row.append(cell);
    }
    return row;
  });
  const [thead, tbody] = [element("thead"), element("tbody")];
  thead.append(head);
  tbody.append(...body);
  table.append(thead, tbody);
  const first = cells.get(focused) ?? cells.get(key(1, 0));
  first.tabIndex = 0;
  if (focused) first.focus();
}

function heading(text, scope) {
  const made = element("th", "", text);
  made.scope = scope;
  return made;
}

function fill() {
  const { answer, href } = shown;
  const most = Math.max(...answer.data.map((row) => row.ventes_par_heure ?? 0));
  for (const row of answer.data) {
    const figure = cells.get(key(row.jour_semaine, row.heure));
    const mean = row.ventes_par_heure;
    const target = row.ventes_count ? href(answer, { weekday: row.jour_semaine, hour: row.heure }) : null;
    setLink(figure, target, mean ? shortNumber(mean) : "");
    const name = { day: weekdayName(row.jour_semaine), hour: `${hourText(row.heure)}:00`, sales: t("sales", { count: row.ventes_count }) };
    const spoken = mean === null ? null : t("weekCell", { ...name, mean: decimal(mean), amount: euros(row.revenue_total) });
    setAttribute(figure, "title", spoken);
    setAttribute(figure, "aria-label", target ? spoken : null);
    figure.parentElement.style.setProperty("--heat", most > 0 ? ((mean ?? 0) / most).toFixed(3) : "0");
  }
}

table.addEventListener("keydown", (event) => {
  const at = event.target.dataset?.cell;
  if (!at) return;
  const [day, hour] = at.split("-").map(Number);
  const turn = narrow.matches ? { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } : { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const move = turn[event.key];
  if (!move) return;
  event.preventDefault();
  const next = cells.get(key(day + move[0], hour + move[1]));
  if (!next) return;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
narrow.addEventListener("change", () => {
  if (!shown) return;
  build();
  fill();
});
