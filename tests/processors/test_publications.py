import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from checkpoints import rows_of

from processors import publications
from salesviews.view_rows import DAY_MS, ViewRows
from salesviews.views import HOURLY_SALES, VENTES_PRODUIT_PAYS


def published(rows: ViewRows) -> tuple[dict[str, Any], dict[str, Any]]:
    [(key, value)] = publications.messages(rows)
    return json.loads(key), json.loads(value, parse_float=Decimal)


def test_a_publication_says_key_window_and_sums() -> None:
    """Law: the key names a view's row; the value has it whole, with the table's names, amounts with two decimals."""
    start_ms = int(datetime(2025, 12, 22, 10, tzinfo=UTC).timestamp() * 1000)
    key, value = published(rows_of(HOURLY_SALES, ((), start_ms, [3, 179998, 2**70])))
    assert key == {"heure": "2025-12-22T10:00:00Z"}
    assert value == key | {"ventes_count": 3, "revenue_total": Decimal("1799.98"), "quantite_totale": 2**70}

    names = ("nul \x00", '"guillemets"', "é")
    key, value = published(rows_of(VENTES_PRODUIT_PAYS, (names, start_ms // DAY_MS * DAY_MS, [1, 5, 1, 1])))
    assert key == dict(zip(("produit_nom", "categorie", "pays"), names, strict=True)) | {"jour": "2025-12-22"}
    assert value["revenue_total"] == Decimal("0.05")


def test_a_row_of_a_table_has_the_key_of_its_publication() -> None:
    """Law: what is retracted is what was published: keys are the same, made of a take's rows or of a table's."""
    start_ms = int(datetime(2025, 12, 22, 10, tzinfo=UTC).timestamp() * 1000)
    for rows in (
        rows_of(HOURLY_SALES, ((), start_ms, [1, 2, 3])),
        rows_of(VENTES_PRODUIT_PAYS, (("a", "b", "c"), start_ms // DAY_MS * DAY_MS, [1, 5, 1, 1])),
    ):
        assert list(publications.keys(rows.view, rows.to_arrow())) == [key for key, _ in publications.messages(rows)]
