// The months, each beside the same month a year before; choosing one shows it.

import { changed, read } from "./address.js";
import { byId, element, follow, setAttribute, setLink, setText } from "./elements.js";
import { changedPct, euros, month, wholeEuros } from "./format.js";
import { showRefusal } from "./refusals.js";
import { t } from "./texts.js";

const SHOWN = 13;

/**
 * @param seen until when there are sales
 * @param href makes the address behind the figure of a month, of the view that it is from
 */
export function show({ months: answer }, { seen }, href) {
  const section = byId("months");
  showRefusal(section, answer.refusal ?? null);
  if (answer.refusal) return;
  const rows = answer.data.slice(-SHOWN).reverse();
  section.querySelector(".empty").hidden = rows.length > 0;
  section.querySelector("table").hidden = rows.length === 0;
  const largest = Math.max(...rows.flatMap((row) => [Number(row.revenue_total), Number(row.revenue_total_an_passe ?? 0)]), 0.01);
  const width = (amount) => `${(100 * Number(amount ?? 0)) / largest}%`;
  const { period } = read();
  follow(byId("months-table"), rows, (row) => row.debut_mois, make, (line, row) => {
    const [name, bars, revenue, before, change] = line.children;
    const start = new Date(`${row.debut_mois}T00:00:00Z`);
    const key = row.debut_mois.slice(0, 7);
    const isRunning = seen < new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1));
    setLink(name.firstChild, changed({ period: key }), month(start));
    setText(name.lastChild, isRunning ? t("soFar") : "");
    setAttribute(name.firstChild, "aria-current", period === key ? "true" : null);
    bars.firstChild.children[0].style.width = width(row.revenue_total);
    bars.firstChild.children[1].style.width = width(row.revenue_total_an_passe);
    bars.firstChild.children[1].hidden = row.revenue_total_an_passe === null;
    setLink(revenue.firstChild, row.ventes_count ? href(answer, start) : null, wholeEuros(row.revenue_total));
    setAttribute(revenue.firstChild, "title", euros(row.revenue_total));
    const yearBefore = new Date(Date.UTC(start.getUTCFullYear() - 1, start.getUTCMonth()));
    setLink(before.firstChild, Number(row.revenue_total_an_passe) ? href(answer, yearBefore) : null, row.revenue_total_an_passe === null ? "–" : wholeEuros(row.revenue_total_an_passe));
    setText(change, row.revenue_total_ecart_pct === null ? "–" : changedPct(row.revenue_total_ecart_pct));
    change.dataset.trend = Math.sign(row.revenue_total_ecart_pct ?? 0);
  });
}

function make() {
  const row = element("tr");
  const name = element("th", "text");
  name.scope = "row";
  name.append(element("a"), " ", element("span", "aside"));
  const bars = element("td", "bars-cell");
  bars.setAttribute("aria-hidden", "true");
  const pair = element("span", "twins");
  pair.append(element("i"), element("i", "twin-before"));
  bars.append(pair);
  const revenue = element("td");
  revenue.append(element("a", "figure"));
  const before = element("td", "optional");
  before.append(element("a", "figure"));
  row.append(name, bars, revenue, before, element("td", "trend"));
  return row;
}
