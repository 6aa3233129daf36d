// Customers of a period: the best of them, and how many were new or came back.

import { changed } from "./address.js";
import { byId, element, follow, setLink, setText } from "./elements.js";
import { euros, month, number, shortDate } from "./format.js";
import { trace } from "./questions.js";
import { showRefusal } from "./refusals.js";
import { t } from "./texts.js";

const MONTHS = 6;

export function show({ customers, returning }) {
  showBest(customers);
  showReturning(returning);
}

function showBest(answer) {
  const section = byId("customers");
  showRefusal(section, answer.refusal ?? null);
  if (answer.refusal) return;
  section.querySelector(".empty").hidden = answer.data.length > 0;
  section.querySelector("table").hidden = answer.data.length === 0;
  follow(byId("customers-table"), answer.data, (row) => String(row.client_id), makeRow, (line, row) => {
    const [name, revenue, sales, first, last] = line.children;
    // A number of 64 bits is no count: it is shown as it is.
    const behind = trace("customer", { client_id: row.client_id, as_of: answer.snapshot.id });
    setLink(name.firstChild, changed({ trace: behind }), String(row.client_id));
    setText(revenue, euros(row.revenue_total));
    setText(sales, number(row.ventes_count));
    setText(first, shortDate(new Date(row.premiere_vente)));
    setText(last, shortDate(new Date(row.derniere_vente)));
  });
}

function makeRow() {
  const row = element("tr");
  const name = element("th", "text");
  name.scope = "row";
  name.append(element("a", "figure"));
  row.append(name, element("td"), element("td"), element("td", "optional"), element("td", "optional"));
  return row;
}

function showReturning(answer) {
  const section = byId("returning");
  showRefusal(section, answer.refusal ?? null);
  if (answer.refusal) return;
  const rows = answer.data.slice(-MONTHS).reverse();
  const most = Math.max(...rows.map((row) => row.clients), 1);
  section.querySelector(".empty").hidden = rows.length > 0;
  section.querySelector("table").hidden = rows.length === 0;
  follow(byId("returning-table"), rows, (row) => row.debut_mois, makeMonth, (line, row) => {
    const [name, bars, fresh, back] = line.children;
    setText(name, month(new Date(`${row.debut_mois}T00:00:00Z`)));
    bars.firstChild.children[0].style.width = `${(100 * row.nouveaux) / most}%`;
    bars.firstChild.children[1].style.width = `${(100 * row.fideles) / most}%`;
    setText(fresh, number(row.nouveaux));
    setText(back, number(row.fideles));
  });
}

function makeMonth() {
  const row = element("tr");
  const name = element("th", "text");
  name.scope = "row";
  const bars = element("td", "bars-cell");
  bars.setAttribute("aria-hidden", "true");
  const stack = element("span", "stack");
  stack.append(element("i"), element("i", "stack-back"));
  bars.append(stack);
  row.append(name, bars, element("td"), element("td"));
  return row;
}
