// Of what revenue is made: products, countries, categories and segments, as bars. A name filters by it, an amount leads
// to the sales behind it.

import { changed, read } from "./address.js";
import { byId, element, follow, setAttribute, setLink, setText } from "./elements.js";
import { number, share, wholeEuros, euros } from "./format.js";
import { showRefusal } from "./refusals.js";
import { t } from "./texts.js";

const SHOWN = 8;

/** The tiles, by the name of their answer: the column that names a row, and what it says beside it. */
const TILES = {
  products: { dimension: "produit_nom", keys: ["produit_nom", "categorie"], detail: (row) => `${row.categorie} · ${ofSales(row)} · ${perSale(row)}` },
  countries: { dimension: "pays", keys: ["pays"], detail: ofSales },
  categories: { dimension: "categorie", keys: ["categorie"], detail: ofSales },
  segments: { dimension: "segment", keys: ["segment"], detail: ofSales },
};

const oneDecimal = (value) => number(Math.round(value * 10) / 10);
function ofSales(row) {
  return t("sales", { count: row.ventes_count });
}
const perSale = (row) => t("perSale", { count: oneDecimal(Number(row.quantite_totale) / row.ventes_count) });

export function show(answers, href) {
  for (const [name, tile] of Object.entries(TILES)) showTile(name, tile, answers[name], href);
}

function showTile(name, { dimension, keys, detail }, answer, href) {
  const section = byId(name);
  showRefusal(section, answer.refusal ? { ...answer.refusal, keys } : null);
  if (answer.refusal) return;
  const rows = answer.data.filter((row) => row.ventes_count > 0);
  const total = rows.reduce((sum, row) => sum + Number(row.revenue_total), 0);
  const largest = Math.max(...rows.map((row) => Number(row.revenue_total)), 0.01);
  const isRanking = name === "products";
  const shown = isRanking ? rows : rows.slice(0, SHOWN);
  section.querySelector(".empty").hidden = rows.length > 0;
  setText(section.querySelector(".rest"), rows.length > shown.length ? t("restOf", { count: rows.length - shown.length }) : "");
  const state = read();
  follow(section.querySelector(".bars"), shown, (row) => JSON.stringify(keys.map((key) => row[key])), make, (item, row) => {
    const [label, about, amount, bar] = item.children;
    const value = row[dimension];
    const isChosen = state[dimension] === value;
    setLink(label, changed({ [dimension]: isChosen ? null : value }), value || t("emptyName"));
    setAttribute(label, "title", isChosen ? t("clear") : t("onlyThis", { name: value || t("emptyName") }));
    setLink(amount, href(answer, Object.fromEntries(keys.map((key) => [key, row[key]]))), wholeEuros(row.revenue_total));
    setAttribute(amount, "title", euros(row.revenue_total));
    bar.firstChild.style.width = `${(100 * Number(row.revenue_total)) / largest}%`;
    setText(about, isRanking ? detail(row) : `${share(Number(row.revenue_total), total)} · ${detail(row)}`);
  });
}

function make() {
  const row = element("li");
  const bar = element("span", "bar");
  bar.append(element("i"));
  row.append(element("a", "name"), element("span", "detail"), element("a", "amount figure"), bar);
  return row;
}
