// Which products sell where: cards of product and country, for a month, filtered by country and product.

import { byId, element, follow, setText } from "./elements.js";
import { count, euros, month as monthName } from "./format.js";

const PAGE = 12;

const month = byId("filter-month");
const country = byId("filter-country");
const product = byId("filter-product");

let rows = [];
let shown = PAGE;
let isMonthChosen = false;

/** The address of the rows for the month that is chosen. */
export function path() {
  if (!month.value) return "/api/aggregated_sales";
  const [year, number] = month.value.split("-").map(Number);
  return `/api/aggregated_sales?year=${year}&month=${number}`;
}

/** Until somebody chooses a month it is that of the latest sale. Tells whether that moved. */
export function suggestMonth(date) {
  const text = date.toISOString().slice(0, 7);
  if (isMonthChosen || month.value === text) return false;
  month.value = text;
  return true;
}

export function show(answer) {
  rows = answer;
  offer(country, rows.map((row) => row.pays));
  offer(product, rows.map((row) => row.produit_nom));
  draw();
}

/** Call back when other rows are needed, because another month was chosen. */
export function onMonth(callback) {
  const changed = () => {
    isMonthChosen = true;
    shown = PAGE;
    callback();
  };
  month.addEventListener("change", changed);
  byId("month-before").addEventListener("click", () => step(-1) && changed());
  byId("month-after").addEventListener("click", () => step(1) && changed());
  byId("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    country.value = "";
    product.value = "";
    shown = PAGE;
    draw();
  });
}

function step(months) {
  const start = month.value || new Date().toISOString().slice(0, 7);
  const date = new Date(`${start}-01T00:00:00Z`);
  date.setUTCMonth(date.getUTCMonth() + months);
  month.value = date.toISOString().slice(0, 7);
  return true;
}

/** Offer the names that there are, and the chosen one even where the month has none of it. */
function offer(select, names) {
  const all = [...new Set([...names, ...(select.value ? [select.value] : [])])].sort((one, other) => one.localeCompare(other));
  const chosen = select.value;
  follow(select, ["", ...all], (name) => name, () => element("option"), (option, name) => {
    option.value = name;
    if (name) setText(option, name);
  });
  select.value = chosen;
}

function draw() {
  const kept = rows.filter((row) => (!country.value || row.pays === country.value) && (!product.value || row.produit_nom === product.value));
  const when = month.value ? `in ${monthName(new Date(`${month.value}-01T00:00:00Z`))}` : "over all time";
  const cents = kept.reduce((sum, row) => sum + Math.round(row.chiffre_affaires * 100), 0);
  const sales = kept.reduce((sum, row) => sum + row.nombre_ventes, 0);
  setText(byId("markets-total"), kept.length ? `${euros(cents / 100)} from ${count(sales, "sale", "sales")} ${when}` : "");
  follow(byId("cards"), kept.slice(0, shown), (row) => JSON.stringify([row.produit_nom, row.categorie, row.pays, row.annee, row.mois]), make, update);
  const isFiltered = Boolean(country.value || product.value);
  byId("filter-reset").disabled = !isFiltered;
  byId("cards-empty").hidden = kept.length > 0;
  setText(byId("cards-empty"), `No sales ${isFiltered ? "for this choice " : ""}${when}.`);
  const rest = kept.length - shown;
  byId("cards-more").hidden = rest <= 0;
  setText(byId("cards-more"), `Show ${count(Math.min(rest, PAGE * 4), "more", "more")} of ${count(kept.length, "card", "cards")}`);
}

function make() {
  const card = element("li", "card");
  card.append(element("p", "what"), element("p", "revenue"), element("p", "where"), element("p", "detail"));
  return card;
}

function update(card, row) {
  const [what, revenue, where, detail] = card.children;
  const period = month.value ? "" : ` in ${monthName(new Date(Date.UTC(row.annee, row.mois - 1)))}`;
  setText(what, row.produit_nom);
  setText(revenue, euros(row.chiffre_affaires));
  setText(where, `in ${row.pays}${period} (${count(row.nombre_ventes, "sale", "sales")})`);
  setText(detail, `${euros(row.panier_moyen)} a basket · ${count(row.clients_uniques, "client", "clients")}`);
}

for (const select of [country, product]) {
  select.addEventListener("change", () => {
    shown = PAGE;
    draw();
  });
}
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("cards-more").addEventListener("click", () => {
  shown += PAGE * 4;
  draw();
});
