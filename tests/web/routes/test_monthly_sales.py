from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import answered
import pytest
from oracle import label, quotient

Sales = list[dict[str, Any]]


def figures(sales: Sales) -> dict[str, Any]:
    revenue = sum((sale["montant"] for sale in sales), Decimal("0.00"))
    basket = quotient(revenue, len(sales)) if sales else None
    return {"ventes_count": len(sales), "revenue_total": revenue, "panier_moyen": basket}


def expected(sales: Sales, filters: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """By month: each figure, that of the year before, the difference, and that in percent."""
    first, last = (bound(sale["timestamp"].date().replace(day=1) for sale in sales) for bound in (min, max))
    months = [
        date(number // 12, number % 12 + 1, 1)
        for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    ]
    by_month: dict[date, Sales] = defaultdict(list)
    for sale in sales:
        if all(label(sale[name]) in values for name, values in filters.items()):
            by_month[sale["timestamp"].date().replace(day=1)].append(sale)
    rows = {}
    for month in months:
        row = figures(by_month[month])
        before = figures(by_month[month.replace(year=month.year - 1)]) if month.year - 1 >= first.year else None
        if before is not None and month.replace(year=month.year - 1) < first:
            before = None
        for name in tuple(row):
            then = None if before is None else before[name]
            difference = None if then is None or row[name] is None else row[name] - then
            row[f"{name}_an_passe"] = then
            row[f"{name}_ecart"] = difference
            row[f"{name}_ecart_pct"] = None if difference is None or not then else 100 * float(difference) / float(then)
        rows[str(month)] = row
    return rows


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"pays": ["France"]},
        {"segment": ["Pro"], "pays": ["UK", "France"]},
        {"produit_nom": ["Café"], "categorie": ["Boissons"]},
        {"pays": ["nowhere"]},
    ],
    ids=str,
)
def test_each_month_beside_the_year_before(years_web: Any, filters: dict[str, list[str]]) -> None:
    """Law: every month from the first to the last, each figure and its change exactly; zeros where nothing was sold."""
    rows = answered.rows(years_web.client.get("/api/monthly_sales", query_string=filters))
    wanted = expected(years_web.oracle.ventes_clean, filters)
    assert [row["debut_mois"] for row in rows] == list(wanted)
    assert any(row["ventes_count"] == "0" for row in rows)
    for row in rows:
        for name, value in wanted[row["debut_mois"]].items():
            if name.endswith("_pct") and value is not None:
                assert float(row[name]) == pytest.approx(value), (row, name)
            else:
                assert row[name] == answered.text(value), (row, name)


def test_a_period_keeps_the_year_before(years_web: Any) -> None:
    """Law: from and to choose rows, and change none."""
    everything = answered.rows(years_web.client.get("/api/monthly_sales"))
    some = answered.rows(years_web.client.get("/api/monthly_sales?from=2025-12-01&to=2026-01-31"))
    assert some == [row for row in everything if row["debut_mois"] in ("2025-12-01", "2026-01-01")]
    assert all(row["ventes_count_an_passe"] for row in some)


def test_filters_that_no_view_has_together_are_refused(years_web: Any) -> None:
    """Law: 422, and no number."""
    response = years_web.client.get("/api/monthly_sales?segment=Pro&produit_nom=Caf%C3%A9")
    assert (response.status_code, response.json["error"]["code"]) == (422, "no_view")
