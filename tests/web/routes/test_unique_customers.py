from datetime import UTC, datetime
from typing import Any

import answered
import pytest
from oracle import label


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "before", "start", "end"),
    [
        ("from=2026-01-01&to=2026-01-31", "2025-12-01", "2026-01-01", "2026-02-01"),
        ("from=2025-12-01&to=2026-02-28", "2025-09-01", "2025-12-01", "2026-03-01"),
        ("from=2024-12-01&to=2026-01-31", "2023-10-01", "2024-12-01", "2026-02-01"),
        ("from=2026-01-10&to=2026-01-19", "2025-12-31", "2026-01-10", "2026-01-20"),
        ("from=2026-02-13T08:30Z&to=2026-02-14T10:30Z", "2026-02-12T06:30", "2026-02-13T08:30", "2026-02-14T10:30"),
        ("from=2030-01-01&to=2030-01-05", "2029-12-27", "2030-01-01", "2030-01-06"),
    ],
)
@pytest.mark.parametrize("filters", [{}, {"pays": ["France"], "segment": ["Pro"], "produit_nom": ["Café", "Thé"]}])
def test_distinct_customers(
    years_web: Any, query: str, before: str, start: str, end: str, filters: dict[str, list[str]]
) -> None:
    """Law: exactly the different customers of the period, and of the one before, with any filters and bounds."""
    if filters and start == "2024-12-01":
        response = years_web.client.get(f"/api/unique_customers?{query}&pays=France")
        assert (response.status_code, response.json["error"]["parameter"]) == (400, "from")
        return
    now, then = (
        {
            sale["client_id"]
            for sale in years_web.oracle.ventes_clean
            if first <= sale["timestamp"] < last
            and all(label(sale[name]) in values for name, values in filters.items())
        }
        for first, last in ((at(start), at(end)), (at(before), at(start)))
    )
    more = "".join(f"&{name}={value}" for name, values in filters.items() for value in values)
    (row,) = answered.rows(years_web.client.get(f"/api/unique_customers?{query}{more}"))
    change = row.pop("ecart_pct")
    assert row == {
        "debut": f"{at(start):%Y-%m-%dT%H:%M:%SZ}",
        "fin": f"{at(end):%Y-%m-%dT%H:%M:%SZ}",
        "clients": str(len(now)),
        "debut_precedent": f"{at(before):%Y-%m-%dT%H:%M:%SZ}",
        "clients_precedents": str(len(then)),
        "ecart": str(len(now) - len(then)),
    }
    if then:
        assert float(change) == pytest.approx(100 * (len(now) - len(then)) / len(then))
    else:
        assert change == ""


def test_the_default_is_the_month_of_the_latest_sale(years_web: Any) -> None:
    """Law: to the end of the day of the latest sale, from the start of its month."""
    latest = max(sale["timestamp"] for sale in years_web.oracle.ventes_clean)
    (row,) = answered.rows(years_web.client.get("/api/unique_customers"))
    assert row["debut"] == f"{latest:%Y-%m}-01T00:00:00Z"
    assert row["fin"] > f"{latest:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("query", ["from=0003-01-01&to=9000-01-31", "from=0002-01-02", "from=2026-02-01&to=2026-01-01"])
def test_impossible_periods_are_refused(years_web: Any, query: str) -> None:
    """Law: a period that has none before it, is too long or is empty, is a 400 that says so."""
    assert years_web.client.get(f"/api/unique_customers?{query}").status_code == 400
