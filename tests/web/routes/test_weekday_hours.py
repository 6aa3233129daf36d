from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import answered
import pytest
from oracle import label, quotient

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("filters", "bounds"),
    [
        ({}, None),
        ({"pays": ["France"]}, None),
        ({}, (datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 2, 10, 7, tzinfo=UTC))),
        ({"pays": ["nowhere"]}, (datetime(2026, 1, 5, 3, tzinfo=UTC), datetime(2026, 1, 5, 5, tzinfo=UTC))),
    ],
    ids=str,
)
def test_always_168_cells(years_web: Any, filters: dict[str, list[str]], bounds: tuple[datetime, datetime]) -> None:
    """Law: each hour of the week with its sales, zeros where there are none, and how many such hours the period has."""
    sales = years_web.oracle.ventes_clean
    hours = [sale["timestamp"].replace(minute=0, second=0, microsecond=0) for sale in sales]
    start, end = bounds or (min(hours), max(hours) + HOUR)
    chosen: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for sale in sales:
        if start <= sale["timestamp"] < end and all(label(sale[name]) in values for name, values in filters.items()):
            chosen[sale["timestamp"].isoweekday(), sale["timestamp"].hour].append(sale)
    period: dict[tuple[int, int], int] = defaultdict(int)
    for number in range((end - start) // HOUR):
        moment = start + number * HOUR
        period[moment.isoweekday(), moment.hour] += 1

    query = filters | ({} if bounds is None else {"from": f"{start:%Y-%m-%dT%H:%MZ}", "to": f"{end:%Y-%m-%dT%H:%MZ}"})
    rows = answered.rows(years_web.client.get("/api/weekday_hours", query_string=query))
    assert [(row["jour_semaine"], row["heure"]) for row in rows] == [
        (str(day), str(hour)) for day in range(1, 8) for hour in range(24)
    ]
    for row in rows:
        cell = (int(row["jour_semaine"]), int(row["heure"]))
        of_cell = chosen[cell]
        revenue = sum((sale["montant"] for sale in of_cell), Decimal("0.00"))
        assert row["ventes_count"] == str(len(of_cell))
        assert row["revenue_total"] == str(revenue)
        assert row["panier_moyen"] == (str(quotient(revenue, len(of_cell))) if of_cell else "")
        assert row["heures"] == str(period[cell])
        assert (
            row["ventes_par_heure"] == ""
            if not period[cell]
            else float(row["ventes_par_heure"]) == pytest.approx(len(of_cell) / period[cell])
        )


def test_a_filter_without_hours_is_refused(years_web: Any) -> None:
    """Law: products are counted by day: 422, and no number."""
    response = years_web.client.get("/api/weekday_hours?produit_nom=Caf%C3%A9")
    assert (response.status_code, response.json["error"]["code"]) == (422, "no_view")
