// From a figure to the sales behind it, and on to a raw message: a dialog whose content the address says (`trace`), so
// that each step is a link, Back goes back, and a finding can be sent to somebody.

import { changed, go, read } from "./address.js";
import { ask } from "./api.js";
import { byId, element, link, setText, table } from "./elements.js";
import { clock, date, euros, instant, number } from "./format.js";
import { trace, traceQuestion } from "./questions.js";
import { hasText, t } from "./texts.js";

const dialog = byId("trace");
const content = byId("trace-content");
const title = byId("trace-title");

let shown = null;
let opener = null;

const KEYS = ["produit_nom", "categorie", "pays", "segment", "motif", "client_id"];
const WINDOWS = ["heure", "jour", "debut_mois"];
const AMOUNTS = ["revenue_total", "chiffre_affaires", "panier_moyen", "montant"];

/** Show what the address says, or nothing. */
export async function show(state) {
  const { trace: wanted } = state;
  if (wanted === shown) return;
  shown = wanted;
  if (wanted === null) {
    if (dialog.open) dialog.close();
    opener?.focus?.();
    opener = null;
    return;
  }
  if (!dialog.open) {
    opener = document.activeElement === document.body ? null : document.activeElement;
    dialog.showModal();
  }
  dialog.setAttribute("aria-busy", "true");
  const search = new URLSearchParams(wanted);
  let made;
  try {
    const answer = await ask(traceQuestion(search));
    if (shown !== wanted) return;
    // A figure of one part is that part.
    if (search.get("kind") === "parts" && partsOf(search, answer).length === 1) {
      go({ trace: partTrace(search, partsOf(search, answer)[0]) }, { replace: true });
      return;
    }
    made = PAGES[search.get("kind")]?.(answer, search) ?? [t("trace"), element("p", "", t("nothingKnown"))];
  } catch (error) {
    if (shown !== wanted) return;
    made = [t("trace"), ...failure(error, search)];
  }
  const [name, ...parts] = made;
  setText(title, name);
  content.replaceChildren(...(search.get("as_of") ? [asOf(search)] : []), ...parts.filter(Boolean));
  content.scrollTop = 0;
  dialog.setAttribute("aria-busy", "false");
  title.focus();
}

function asOf(search) {
  return element("p", "aside", t("asOf", { id: search.get("as_of") }));
}

function failure(error, search) {
  const said = element("div", "refusal");
  const text = error.code === "snapshot_expired" ? t("expired") : error.status === 403 || error.status === 401 ? t("refused") : t("failed", { message: error.message });
  said.append(element("p", "", text));
  if (search.has("as_of") && [404, 410].includes(error.status)) {
    const now = new URLSearchParams(search);
    now.delete("as_of");
    said.append(link(changed({ trace: now.toString() }), t("nowInstead"), "action"));
  } else {
    const again = element("button", "", t("retry"));
    again.type = "button";
    again.addEventListener("click", () => {
      shown = null;
      show(read());
    });
    said.append(again);
  }
  return [said];
}

const nameOf = (name) => (hasText(name) ? t(name) : name);
const textOf = (value) => (value === null ? "–" : value === "" ? t("emptyName") : String(value));
const inTrace = (kind, parameters) => changed({ trace: trace(kind, parameters) });

function windowText(row) {
  const column = WINDOWS.find((name) => row[name] !== undefined);
  if (!column) return "";
  const at = new Date(row[column]);
  return column === "heure" ? `${date(at)}, ${clock(at)}` : date(at);
}

// ---- The rows of a view that a figure sums --------------------------------------------------------------------------

function partsOf(search, answer) {
  const weekday = search.get("weekday");
  if (weekday === null) return answer.data;
  return answer.data.filter((row) => {
    const at = new Date(row.heure);
    return (at.getUTCDay() || 7) === Number(weekday) && at.getUTCHours() === Number(search.get("hour"));
  });
}

function partTrace(search, row) {
  const column = WINDOWS.find((name) => row[name] !== undefined);
  const keys = Object.fromEntries(KEYS.filter((name) => row[name] !== undefined).map((name) => [name, row[name]]));
  return trace("figure", { view: search.get("view"), as_of: search.get("as_of"), ...keys, window: row[column] });
}

function parts(answer, search) {
  const rows = partsOf(search, answer);
  if (!rows.length) return [t("trace"), element("p", "empty", t("noParts"))];
  const [first] = rows;
  const keys = KEYS.filter((name) => first[name] !== undefined);
  const isOfMessages = first.messages !== undefined;
  const columns = [{ name: t("when"), isText: true }, ...keys.map((name) => ({ name: nameOf(name), isText: true })), { name: isOfMessages ? t("message") : t("salesTitle") }, ...(isOfMessages ? [] : [{ name: t("revenue") }])];
  const lines = rows.map((row) => [
    link(changed({ trace: partTrace(search, row) }), windowText(row), "figure"),
    ...keys.map((name) => (name === "motif" ? nameOf(row[name]) : textOf(row[name]))),
    number(isOfMessages ? row.messages : row.ventes_count),
    ...(isOfMessages ? [] : [euros(row.revenue_total)]),
  ]);
  const isAll = answer.page?.next === null || answer.page?.next === undefined;
  const said = element("p", "", isAll ? t("partsOf", { count: rows.length, view: search.get("view") }) : t("partsFirst", { count: rows.length }));
  return [t("trace"), said, scrolled(table(columns, lines, t("trace")))];
}

function scrolled(of) {
  const made = element("div", "scroll-x");
  made.tabIndex = 0;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", of.caption?.textContent || t("asTable"));
  made.append(of);
  return made;
}

// ---- One row with its sales -----------------------------------------------------------------------------------------

function figure({ data }, search) {
  const window_ = data.window ? windowText({ [data.window.column]: data.window.start }) : "";
  const address = [...Object.values(data.key).map(textOf), window_].filter(Boolean).join(" · ");
  const proof = element("p", data.adds_up ? "proof good" : "proof bad", data.adds_up ? t("addsUp") : t("addsNotUp"));
  const list = element("div");
  const behind = section(t("behindTitle", { count: number(data.behind.total) }));
  behind.append(scrolled(messagesTable(data.behind.messages, search)));
  addMore(behind, data.behind, search, "after", (more) => more.behind);
  const leftOut = section(t("leftOutTitle", { count: number(data.left_out.total) }));
  const motifs = Object.entries(data.left_out.by_motif).filter(([, count]) => count > 0);
  if (motifs.length) {
    const terms = element("dl", "terms");
    for (const [motif, count] of motifs) term(terms, nameOf(motif), number(count));
    leftOut.append(terms, scrolled(messagesTable(data.left_out.messages, search, true)));
    addMore(leftOut, data.left_out, search, "left_out_after", (more) => more.left_out);
  } else {
    leftOut.append(element("p", "empty", t("leftOutNone")));
  }
  list.append(behind, leftOut);
  const notes = [...(data.raw_missing ? [t("rawMissing", { count: data.raw_missing })] : []), ...data.notes];
  return [address ? `${data.view}: ${address}` : data.view, values(data.figure), proof, list, ...notes.map((note) => element("p", "aside", note))];
}

function values(figures) {
  const terms = element("dl", "terms values");
  for (const [name, value] of Object.entries(figures)) {
    // Of messages, nulls by field are many, and mostly none.
    if (name.startsWith("nuls_") && !Number(value)) continue;
    term(terms, nameOfFigure(name), value === null ? "–" : AMOUNTS.includes(name) ? euros(value) : number(value));
  }
  return terms;
}

const FIGURES = { ventes_count: "salesTitle", nombre_ventes: "salesTitle", revenue_total: "revenue", chiffre_affaires: "revenue", panier_moyen: "basket", quantite_totale: "quantity", clients_uniques: "uniqueCustomers", messages: "message" };
const nameOfFigure = (name) => (FIGURES[name] ? t(FIGURES[name]) : name);

function messagesTable(messages, search, isLeftOut = false) {
  const columns = [{ name: t("sale"), isText: true }, ...(isLeftOut ? [{ name: t("motif"), isText: true }] : []), { name: t("when"), isText: true }, { name: t("produit_nom"), isText: true }, { name: t("pays"), isText: true }, { name: t("quantity") }, { name: t("amount") }, { name: t("position"), isText: true }];
  const rows = messages.map((message) => {
    const { fields } = message;
    const to = inTrace("message", { position: position(message.position), as_of: search.get("as_of") });
    return [
      link(to, fields?.vente_id ?? t("message"), "figure"),
      ...(isLeftOut ? [nameOf(message.outcome)] : []),
      fields?.timestamp ? instant(new Date(fields.timestamp)) : "–",
      textOf(fields?.produit_nom ?? null),
      textOf(fields?.pays ?? null),
      fields?.quantite ?? "–",
      fields?.montant === null || fields?.montant === undefined ? "–" : euros(fields.montant),
      `${message.position.partition}/${message.position.offset}`,
    ];
  });
  return table(columns, rows, isLeftOut ? t("leftOutTitle", { count: rows.length }) : t("behindTitle", { count: rows.length }));
}

/** A button for the next page of a list of messages, while there is one. */
function addMore(place, listed, search, parameter, pick) {
  let { next } = listed;
  if (next === null) return;
  const more = element("button", "more", t("more"));
  more.type = "button";
  more.addEventListener("click", async () => {
    more.disabled = true;
    const asked = new URLSearchParams(search);
    asked.set(parameter, next);
    try {
      const page = pick((await ask(traceQuestion(asked))).data);
      place.querySelector("tbody").append(...messagesTable(page.messages, search, parameter !== "after").querySelectorAll("tbody tr"));
      next = page.next;
    } catch (error) {
      more.before(element("p", "refusal", t("failed", { message: error.message })));
    }
    more.disabled = false;
    if (next === null) more.remove();
  });
  place.append(more);
}

function section(name) {
  const made = element("section");
  made.append(element("h3", "", name));
  return made;
}

function term(list, name, value) {
  const pair = element("div");
  const said = element("dd");
  said.append(value);
  pair.append(element("dt", "", name), said);
  list.append(pair);
}

const position = (at) => `${at.topic_id}/${at.partition}/${at.offset}`;
const positionText = (at) => `${at.topic} (${at.topic_id}), ${at.partition}, ${at.offset}`;

// ---- One message, or all of one sale --------------------------------------------------------------------------------

function message(answer, search) {
  return [t("message"), ...chapters(answer, search)];
}

function sale(answer, search) {
  return [t("storyOf", { id: search.get("vente_id") }), ...chapters(answer, search)];
}

function chapters({ data }, search) {
  if (!data.messages.length) return [element("p", "empty", t("nothingKnown")), ...data.notes.map((note) => element("p", "aside", note))];
  return [...data.messages.map((each) => chapter(each, search)), ...data.notes.map((note) => element("p", "aside", note))];
}

function chapter(of, search) {
  const made = section(`${nameOf(of.outcome)}${of.fields?.vente_id ? ` · ${t("sale")} ${of.fields.vente_id}` : ""}`);
  made.classList.add("chapter");
  const terms = element("dl", "terms");
  term(terms, t("becameOf"), nameOf(of.outcome));
  term(terms, t("position"), positionText(of.position));
  if (of.counted_at) {
    term(terms, t("countedAt"), link(inTrace("message", { position: position(of.counted_at), as_of: search.get("as_of") }), positionText(of.counted_at)));
  }
  if (of.raw) {
    term(terms, t("kafkaTime"), instant(new Date(of.raw.kafka_timestamp)));
    term(terms, t("ingested"), instant(new Date(of.raw.date_ingestion)));
    if (of.raw.key) term(terms, t("key"), bytes(of.raw.key));
    if (of.raw.headers?.length) term(terms, t("headers"), of.raw.headers.map((each) => `${each.key}: ${each.value ? each.value.data : "–"}`).join(", "));
  }
  made.append(terms);
  if (of.agrees !== null) made.append(element("p", of.agrees ? "proof good" : "proof bad", of.agrees ? t("agrees") : t("agreesNot")));
  made.append(element("h4", "", t("payload")));
  if (!of.raw) made.append(element("p", "empty", t("rawLacks")));
  else if (!of.raw.payload) made.append(element("p", "empty", t("noPayload")));
  else {
    const raw = element("pre", "payload", of.raw.payload.data);
    raw.tabIndex = 0;
    if (of.raw.payload.encoding === "base64") made.append(element("p", "aside", t("base64")));
    made.append(raw);
  }
  if (of.figures.length) {
    made.append(element("h4", "", t("partOf")));
    const list = element("ul", "figures");
    for (const each of of.figures) {
      const window_ = each.window ? windowText({ [each.window.column]: each.window.start }) : "";
      const about = [...Object.values(each.key).map(textOf), window_].filter(Boolean).join(" · ");
      const item = element("li");
      item.append(link(inTrace("figure", { view: each.view, as_of: search.get("as_of"), ...each.key, window: each.window?.start }), about ? `${each.view}: ${about}` : each.view));
      list.append(item);
    }
    made.append(list);
  }
  return made;
}

const bytes = (of) => (of.encoding === "utf-8" ? of.data : `${of.data} (${t("base64")})`);

// ---- The sales of one customer --------------------------------------------------------------------------------------

function customer(answer, search) {
  const columns = [{ name: t("sale"), isText: true }, { name: t("when"), isText: true }, { name: t("produit_nom"), isText: true }, { name: t("quantity") }, { name: t("amount") }];
  const rows = answer.data.map((row) => [
    link(inTrace("sale", { vente_id: row.vente_id, as_of: search.get("as_of") }), String(row.vente_id), "figure"),
    instant(new Date(row.timestamp)), textOf(row.produit_nom), number(row.quantite), euros(row.montant),
  ]);
  const name = t("salesOf", { id: search.get("client_id") });
  return [name, rows.length ? scrolled(table(columns, rows, name)) : element("p", "empty", t("noParts"))];
}

const PAGES = { parts, figure, message, sale, customer };

// ---- Leaving it -----------------------------------------------------------------------------------------------------

// Escape and the button go where the page was before: to the address without the trace.
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leave();
});
byId("trace-close").addEventListener("click", leave);
byId("trace-back").addEventListener("click", () => (history.state?.isOurs ? history.back() : leave()));
dialog.addEventListener("click", (event) => event.target === dialog && leave());

function leave() {
  go({ trace: null });
}
