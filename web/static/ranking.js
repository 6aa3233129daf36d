// The top ten products, as bars of their revenue.

import { byId, element, follow, setText } from "./elements.js";
import { count, wholeEuros } from "./format.js";

const quantity = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export function show(products) {
  byId("ranking-empty").hidden = products.length > 0;
  const largest = Math.max(...products.map((product) => product.revenue_total), 0.01);
  follow(byId("ranking"), products, (product) => JSON.stringify([product.produit_nom, product.categorie]), make, (row, product) => {
    const [name, detail, value, bar] = row.children;
    setText(name, product.produit_nom);
    name.title = product.produit_nom;
    setText(value, wholeEuros(product.revenue_total));
    bar.firstChild.style.width = `${(100 * product.revenue_total) / largest}%`;
    setText(detail, `${product.categorie} · ${count(product.ventes_count, "sale", "sales")} · ${quantity.format(product.quantite_moyenne)} a sale`);
  });
}

function make() {
  const row = element("li");
  const bar = element("span", "bar");
  bar.append(element("i"));
  row.append(element("span", "name"), element("span", "detail"), element("span", "amount"), bar);
  return row;
}
