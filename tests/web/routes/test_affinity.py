import itertools
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import answered
import pytest
from oracle import label


def expected(sales: list[Any], least: int) -> dict[tuple[str, str], dict[str, float]]:
    baskets: dict[Any, set[str]] = defaultdict(set)
    for sale in sales:
        baskets[sale["client_id"], sale["timestamp"].date()].add(label(sale["produit_nom"]))
    single: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for products in baskets.values():
        single.update(products)
        both.update(itertools.permutations(products, 2))
    return {
        (a, b): {
            "paniers": count,
            "paniers_produit": single[a],
            "paniers_associe": single[b],
            "support": count / len(baskets),
            "confiance": count / single[a],
            "lift": count / single[a] / (single[b] / len(baskets)),
        }
        for (a, b), count in both.items()
        if count >= least
    }


@pytest.mark.parametrize(
    ("query", "filters", "least"),
    [
        ("from=2025-12-10&least=1", {}, 1),
        ("from=2025-12-10", {}, 2),
        ("from=2025-12-10&least=1&pays=France", {"pays": "France"}, 1),
        ("from=2025-12-10&to=2026-02-20&least=1&categorie=Boissons", {"categorie": "Boissons"}, 1),
    ],
)
def test_products_bought_together(years_web: Any, query: str, filters: dict[str, str], least: int) -> None:
    """Law: each pair of products of a customer's day, from either side, with its three measures."""
    start = datetime(2025, 12, 10, tzinfo=UTC)
    end = datetime(2026, 2, 21, tzinfo=UTC) if "to=" in query else datetime(2027, 1, 1, tzinfo=UTC)
    sales = [
        sale
        for sale in years_web.oracle.ventes_clean
        if start <= sale["timestamp"] < end and all(label(sale[name]) == value for name, value in filters.items())
    ]
    wanted = expected(sales, least)
    rows = answered.rows(years_web.client.get(f"/api/affinity?{query}"))
    assert wanted
    assert {(row["produit_nom"], row["produit_associe"]) for row in rows} == set(wanted)
    for row in rows:
        for name, value in wanted[row["produit_nom"], row["produit_associe"]].items():
            assert float(row[name]) == pytest.approx(value), (row, name)
    assert [int(row["paniers"]) for row in rows] == sorted((int(row["paniers"]) for row in rows), reverse=True)


def test_one_product_and_pages(years_web: Any) -> None:
    """Law: pairs of a product are those that begin with it; an order and pages hold them all once."""
    everything = answered.rows(years_web.client.get("/api/affinity?from=2025-12-10&least=1&order=-lift"))
    lifts = [float(row["lift"]) for row in everything]
    assert lifts == sorted(lifts, reverse=True)
    query = {"from": "2025-12-10", "least": 1, "order": "-lift", "produit_nom": "Café"}
    some = answered.rows(years_web.client.get("/api/affinity", query_string=query))
    assert some == [row for row in everything if row["produit_nom"] == "Café"] != []
    page = years_web.client.get("/api/affinity?from=2025-12-10&least=1&order=-lift&limit=1&offset=1")
    assert answered.rows(page) == everything[1:2]


def test_the_default_is_the_last_thirty_days(years_web: Any) -> None:
    """Law: without from it is 30 days that end with the latest sale's; beyond the longest it is refused."""
    latest = max(sale["timestamp"] for sale in years_web.oracle.ventes_clean).date() + timedelta(days=1)
    start = latest - timedelta(days=30)
    rows = answered.rows(years_web.client.get("/api/affinity?least=1"))
    assert rows == answered.rows(years_web.client.get(f"/api/affinity?least=1&from={start}"))
    response = years_web.client.get("/api/affinity?from=2025-01-01")
    assert (response.status_code, response.json["error"]["parameter"]) == (400, "from")
