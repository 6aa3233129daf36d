from collections import defaultdict
from decimal import Decimal
from typing import Any

import answered
import pytest
from oracle import label, quotient


@pytest.mark.parametrize(
    ("path", "key", "filters"),
    [
        ("/api/category_sales", "categorie", {}),
        ("/api/category_sales", "categorie", {"pays": ["France"], "produit_nom": ["Café"]}),
        ("/api/segment_sales", "segment", {}),
        ("/api/segment_sales", "segment", {"pays": ["UK"], "segment": ["Pro"]}),
    ],
)
def test_what_revenue_is_made_of(years_web: Any, path: str, key: str, filters: dict[str, list[str]]) -> None:
    """Law: each value with its sums, the largest revenue first; the shares are of the rows that are shown."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for sale in years_web.oracle.ventes_clean:
        if all(label(sale[name]) in values for name, values in filters.items()):
            groups[label(sale[key])].append(sale)
    revenues = {name: sum((sale["montant"] for sale in sales), Decimal("0.00")) for name, sales in groups.items()}
    rows = answered.rows(years_web.client.get(path, query_string=filters))
    assert [row[key] for row in rows] == sorted(groups, key=lambda name: (-revenues[name], name))
    for row in rows:
        name = row[key]
        assert row["ventes_count"] == str(len(groups[name]))
        assert row["revenue_total"] == str(revenues[name])
        assert row["panier_moyen"] == str(quotient(revenues[name], len(groups[name])))
        assert float(row["part_pct"]) == pytest.approx(float(100 * revenues[name] / sum(revenues.values())))


def test_segments_of_a_product_are_refused(years_web: Any) -> None:
    """Law: 422 where no view has both."""
    assert years_web.client.get("/api/segment_sales?produit_nom=Caf%C3%A9").status_code == 422
