// The filters, which follow the address, and which the address follows.

import { DIMENSIONS, changed, go, read } from "./address.js";
import { byId, element, follow, setAttribute, setText } from "./elements.js";
import { DEFAULT, datesOf, dayName, isMonth, monthName, PRESETS, stepMonth } from "./period.js";
import { describe, describeBefore } from "./period_text.js";
import { t } from "./texts.js";

const kind = byId("filter-period");
const month = byId("filter-month");
const from = byId("filter-from");
const to = byId("filter-to");

let shownPeriod = null;

/** Show what the address says. @param choices rows of `/api/keys` */
export function show(state, period, choices) {
  shownPeriod = period;
  const name = state.period ?? DEFAULT;
  const dates = datesOf(name);
  const chosenKind = PRESETS[name] ? name : isMonth(name) ? "month" : dates ? "dates" : DEFAULT;
  if (document.activeElement !== kind) kind.value = chosenKind;
  byId("field-month").hidden = chosenKind !== "month";
  byId("field-from").hidden = byId("field-to").hidden = chosenKind !== "dates";
  // What somebody is typing stays.
  if (document.activeElement !== month && isMonth(name)) month.value = name;
  if (dates && ![from, to].includes(document.activeElement)) [from.value, to.value] = dates.map(dayName);
  for (const dimension of DIMENSIONS) {
    const select = byId(`filter-${dimension}`);
    offer(select, choices.filter((row) => row.dimension === dimension).map((row) => row.valeur), state[dimension], t(`all_${dimension}`));
    select.parentElement.toggleAttribute("data-set", state[dimension] !== null);
  }
  const isFiltered = DIMENSIONS.some((dimension) => state[dimension] !== null) || state.period !== null;
  const clear = byId("filter-clear");
  clear.hidden = !isFiltered;
  setAttribute(clear, "href", changed({ period: null, ...Object.fromEntries(DIMENSIONS.map((dimension) => [dimension, null])) }));
  setText(byId("showing"), [t("showing", { period: describe(period), before: describeBefore(period) }), ...DIMENSIONS.filter((each) => state[each] !== null).map((each) => `${t(each)}: ${state[each] || t("emptyName")}`)].join(" · "));
}

/** Offer the names that there are, and the chosen one even where there are no sales of it. */
function offer(select, names, chosen, all) {
  const known = chosen !== null && !names.includes(chosen) ? [...names, chosen] : names;
  const sorted = [...known].sort((one, other) => one.localeCompare(other));
  // The first one is all of them; a name may be empty, so that each value has a mark before it.
  follow(select, [null, ...sorted], (name) => (name === null ? "" : `=${name}`), () => element("option"), (option, name) => {
    option.value = name === null ? "" : `=${name}`;
    setText(option, name === null ? all : name || t("emptyName"));
  });
  const value = chosen === null ? "" : `=${chosen}`;
  if (select.value !== value) select.value = value;
}

kind.addEventListener("change", () => {
  const { value } = kind;
  if (value === "month") go({ period: monthName(shownPeriod?.from ?? new Date()) });
  else if (value === "dates") go({ period: shownPeriod ? `${dayName(shownPeriod.from)}..${dayName(new Date(shownPeriod.to - 1))}` : null });
  else go({ period: value === DEFAULT ? null : value });
});
month.addEventListener("change", () => isMonth(month.value) && go({ period: month.value }));
byId("month-before").addEventListener("click", () => step(-1));
byId("month-after").addEventListener("click", () => step(1));
for (const input of [from, to]) {
  input.addEventListener("change", () => datesOf(`${from.value}..${to.value}`) && go({ period: `${from.value}..${to.value}` }));
}
for (const dimension of DIMENSIONS) {
  const select = byId(`filter-${dimension}`);
  select.addEventListener("change", () => go({ [dimension]: select.value ? select.value.slice(1) : null }));
}
byId("filters").addEventListener("submit", (event) => event.preventDefault());

function step(months) {
  const { period } = read();
  go({ period: stepMonth(isMonth(period) ? period : monthName(shownPeriod?.from ?? new Date()), months) });
}

