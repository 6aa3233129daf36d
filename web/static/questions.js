// The one place where the filters become questions to the API. Each question carries every filter, or says why it
// cannot: no tile shows a number that ignores one.
//
// A question is `{path, otherwise?, ignores?}`: `otherwise` is asked where no view has what `path` asks for, and the
// answer then has its `note`. Or it is `{unanswerable: {reason, ...}}`, which is not asked at all.

import { DIMENSIONS } from "./address.js";
import { DEFAULT, granularity } from "./period.js";

const RANKED = 10;
const SHOWN = 8;
const PARTS = 1000;

const text = (date) => date.toISOString().replace(".000Z", "Z");

function path(base, parameters) {
  const search = new URLSearchParams();
  add(search, parameters);
  return `${base}?${search}`;
}

/** Several values of a parameter are a list; what is null is left out. */
function add(search, parameters) {
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue;
    for (const each of [value].flat()) search.append(name, each);
  }
}

/** The filters that are set, by dimension. */
export function filtersOf(state) {
  return Object.fromEntries(DIMENSIONS.filter((name) => state[name] !== null).map((name) => [name, state[name]]));
}

export const periodName = (state) => state.period ?? DEFAULT;

/** The latest hour with sales, from which periods like "the last 7 days" are counted. */
export const LATEST = "/api/sales?granularity=hour&order=-heure&limit=1";

/** What the filters offer. */
export const CHOICES = "/api/keys";

/**
 * Everything that the page asks, by tile.
 *
 * @param state what the address says
 * @param period of it (`period.of`)
 */
export function questions(state, period) {
  const filters = filtersOf(state);
  const inPeriod = { ...filters, from: text(period.from), to: text(period.to) };
  const inPart = { ...filters, from: text(period.beforeFrom), to: text(period.beforeTo) };
  const inBefore = { ...filters, from: text(period.beforeFrom), to: text(period.beforeEnd) };
  const step = granularity(period);
  const sales = (parameters) => ({ path: path("/api/sales", parameters) });
  const by = (group) => sales({ ...inPeriod, group_by: group, order: "-revenue_total" });
  const course = (bounds) => ({
    ...sales({ ...bounds, granularity: step, limit: 100000 }),
    // Not every dimension is kept by hour. For days the period must be one of whole days.
    otherwise: step === "hour" && period.hasDays ? { ...sales({ ...bounds, granularity: "day" }), note: "day" } : undefined,
  });
  return {
    totals: sales(inPeriod),
    totalsBefore: { ...sales(inPart), otherwise: period.isRunning ? { ...sales(inBefore), note: "whole" } : undefined },
    clients: { path: path("/api/unique_customers", inPeriod) },
    clientsBefore: { path: path("/api/unique_customers", inPart) },
    course: course(inPeriod),
    courseBefore: course(inBefore),
    anomalies: { path: path("/api/anomalies", inPeriod) },
    products: { path: path("/api/sales", { ...inPeriod, group_by: "produit_nom,categorie", order: "-revenue_total", limit: RANKED }) },
    countries: by("pays"),
    categories: by("categorie"),
    segments: by("segment"),
    months: { path: path("/api/monthly_sales", filters) },
    week: { path: path("/api/weekday_hours", inPeriod) },
    customers: ofCustomers(filters, period) ?? { path: path("/api/customers", { ...bare(inPeriod), limit: SHOWN }) },
    returning: ofCustomers(filters, period) ?? { path: path("/api/customers/returning", bare(inPeriod)) },
    quality: ofMessages(filters) ?? { path: path("/api/views/qualite", { ...bare(inPeriod), group_by: "motif", granularity: "all" }) },
    rejects: ofMessages(filters) ?? { path: path("/api/rejects", { limit: SHOWN }) },
  };
}

const bare = ({ from, to }) => ({ from, to });

function ofCustomers(filters, period) {
  if (Object.keys(filters).length) return { unanswerable: { reason: "noCustomerFilter", dimensions: Object.keys(filters) } };
  return period.hasMonths ? null : { unanswerable: { reason: "byMonthOnly", month: period.seen < period.to ? period.seen : period.from } };
}

function ofMessages(filters) {
  return Object.keys(filters).length ? { unanswerable: { reason: "noMessageFilter", dimensions: Object.keys(filters) } } : null;
}

// ---- Behind a figure: the same filters, as the address of what to show of it (`trace`) ------------------------------

/** Where a figure of a view leads, over the filters of the page and some more. */
export function traceOf(state, period, { view, snapshot, more = {} }) {
  return trace("parts", { view, as_of: snapshot, ...filtersOf(state), from: text(period.from), to: text(period.to), ...more });
}

/** An address behind the page: what kind of thing to show, and which. */
export function trace(kind, parameters) {
  const search = new URLSearchParams({ kind });
  add(search, parameters);
  return search.toString();
}

/**
 * The question that answers a trace, by its kind:
 *
 * - `parts`: the rows of a view that a figure sums, `figure`: one row with its sales,
 * - `message`: one message by its position, `sale`: a sale by its number, `customer`: the sales of one.
 */
export function traceQuestion(search) {
  const given = Object.fromEntries([...search.keys()].map((name) => [name, search.getAll(name)]));
  const { kind: [kind], weekday, hour, ...parameters } = given;
  if (kind === "parts") {
    const { view: [view], ...rest } = parameters;
    // A cell of the week is every such hour of the period: they are picked from all hours.
    const isOfWeek = weekday !== undefined;
    return path(`/api/views/${encodeURIComponent(view)}`, { ...rest, ...(isOfWeek ? {} : { order: orderOf(view) }), limit: isOfWeek ? 100000 : PARTS });
  }
  if (kind === "figure") return path("/api/lineage", { limit: 50, ...parameters });
  if (kind === "customer") return path("/api/customers/sales", { limit: PARTS, ...parameters });
  return path("/api/lineage", parameters);
}

const orderOf = (view) => (view === "qualite" ? "-messages" : "-revenue_total");
