from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import answered
import pytest
from oracle import label

Product = tuple[str, str]


def start_of(day: date, granularity: str) -> date:
    return day.replace(day=1) if granularity == "month" else day - timedelta(days=day.weekday())


def before(start: date, granularity: str) -> date:
    return start_of(start - timedelta(days=1), granularity)


def ranks(sales: list[Any], granularity: str, by: str) -> dict[date, list[Product]]:
    """The products of each period, the first first."""
    sums: dict[date, dict[Product, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for sale in sales:
        product = (label(sale["produit_nom"]), label(sale["categorie"]))
        gained = {"revenue_total": sale["montant"], "ventes_count": 1, "quantite_totale": sale["quantite"]}[by]
        sums[start_of(sale["timestamp"].date(), granularity)][product] += gained
    return {
        start: sorted(products, key=lambda product: (-products[product], product)) for start, products in sums.items()
    }


@pytest.mark.parametrize("granularity", ["week", "month"])
@pytest.mark.parametrize("by", ["revenue_total", "ventes_count"])
@pytest.mark.parametrize("limit", [2, 1000])
def test_ranks_and_moves(years_web: Any, granularity: str, by: str, limit: int) -> None:
    """Law: each product's rank in each period and in the one before; who has none there is new, or has left."""
    ranked = ranks(years_web.oracle.ventes_clean, granularity, by)
    first, last = min(ranked), max(ranked)
    expected = []
    start = last
    while start >= first:
        now, then = ranked.get(start, []), ranked.get(before(start, granularity), [])
        for product in {*now, *then}:
            rank = now.index(product) + 1 if product in now else None
            rank_then = then.index(product) + 1 if product in then else None
            if (rank or rank_then or 0) > limit:
                continue
            move = None if rank is None or rank_then is None else rank_then - rank
            if start == first:
                status = ""
            elif rank is None:
                status = "sorti"
            elif rank_then is None:
                status = "nouveau"
            else:
                status = "hausse" if move > 0 else "baisse" if move < 0 else "stable"
            expected.append((str(start), rank, *product, rank_then, move, status))
        start = before(start, granularity)
    query = {"granularity": granularity, "by": by, "limit": limit}
    rows = answered.rows(years_web.client.get("/api/rankings", query_string=query))
    columns = ("debut_periode", "rang", "produit_nom", "categorie", "rang_precedent", "mouvement", "statut")
    shown = [tuple(row[column] for column in columns) for row in rows]
    assert len(shown) == len(set(shown))
    assert set(shown) == {tuple("" if value is None else str(value) for value in row) for row in expected}
    assert {"sorti", "nouveau", "hausse", "baisse"} <= {row["statut"] for row in rows}
    order = [(row["debut_periode"], int(row["rang"] or 10**9), int(row["rang_precedent"] or 0)) for row in rows]
    assert [each[:2] for each in order] == sorted(each[:2] for each in order)


def test_a_period_keeps_moves(years_web: Any) -> None:
    """Law: from and to choose rows, and change none: the move of the first period is known."""
    everything = answered.rows(years_web.client.get("/api/rankings"))
    some = answered.rows(years_web.client.get("/api/rankings?from=2026-01-01&to=2026-01-31"))
    assert some == [row for row in everything if row["debut_periode"] == "2026-01-01"] != []
    assert any(row["mouvement"] for row in some)
