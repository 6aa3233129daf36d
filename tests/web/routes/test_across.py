from datetime import date
from decimal import Decimal
from typing import Any

import answered
import pytest


def test_totals_of_a_period(witnessed_web: Any) -> None:
    """Law: without grouping it is one row, the sum over all sales, to the cent; also where there are none."""
    client, sales = witnessed_web.client, witnessed_web.oracle.ventes_clean
    (row,) = answered.rows(client.get("/api/sales"))
    assert row["ventes_count"] == str(len(sales))
    assert row["revenue_total"] == str(sum(sale["montant"] for sale in sales))
    (row,) = answered.rows(client.get("/api/sales?from=2030-01-01"))
    assert row == {"ventes_count": "0", "revenue_total": "0.00", "quantite_totale": "0", "panier_moyen": ""}


def test_the_smallest_view_answers(witnessed_web: Any) -> None:
    """Law: of the views that can, that with the fewest rows, which the answer names."""
    tables = witnessed_web.oracle.tables
    able = ("ventes_par_pays", "ventes_par_segment", "ventes_produit_pays")
    named = witnessed_web.client.get("/api/sales?pays=France").json["view"]
    assert len(tables[named]) == min(len(tables[name]) for name in able)
    assert witnessed_web.client.get("/api/sales?pays=France&granularity=hour").json["view"] == "ventes_par_pays"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("group_by=segment,produit_nom", ["segment", "produit_nom", "together"]),
        ("segment=Pro&categorie=x", ["segment", "categorie", "together"]),
        ("produit_nom=x&granularity=hour", ["produit_nom", "hour"]),
        ("produit_nom=x&from=2026-02-27T10:00Z", ["produit_nom", "from"]),
        ("to=2026-02-27T10:30Z", ["to", "10:30"]),
    ],
)
def test_what_no_view_has_together_is_refused(witnessed_web: Any, query: str, says: list[str]) -> None:
    """Law: 422 names what cannot be combined, and what can; no number ignores a filter."""
    response = witnessed_web.client.get(f"/api/sales?{query}")
    assert (response.status_code, response.json["error"]["code"]) == (422, "no_view")
    assert all(
        word in response.json["error"]["message"] for word in [*says, "produit_nom, categorie, pays by day or longer"]
    )


def test_the_values_of_each_dimension(witnessed_web: Any) -> None:
    """Law: each value that a sale has, once, and no other."""
    expected = sorted(
        (name, "inconnu" if value is None else value)
        for name in ("pays", "produit_nom", "categorie", "segment")
        for value in {sale[name] for sale in witnessed_web.oracle.ventes_clean}
    )
    rows = answered.rows(witnessed_web.client.get("/api/keys"))
    assert [(row["dimension"], row["valeur"]) for row in rows] == sorted(set(expected))
    some = answered.rows(witnessed_web.client.get("/api/keys?dimension=pays&dimension=segment"))
    assert some == [row for row in rows if row["dimension"] in ("pays", "segment")]
    assert witnessed_web.client.get("/api/keys?dimension=client").status_code == 400


def test_a_mean_is_exact_beyond_a_float(silver: Any, store: Any, client: Any) -> None:
    """Law: the mean of the largest amounts there can be, rounded to the cent, half away from zero."""
    largest = Decimal("9999999999999999.99")
    row = {"segment": "s", "pays": "p", "jour": date(2026, 2, 27), "ventes_count": 2}
    silver.put("ventes_par_segment", [row | {"revenue_total": largest + largest - Decimal("0.01")}])
    silver.snapshot()
    store.refresh()
    (row,) = answered.rows(client.get("/api/sales?segment=s"))
    assert row["panier_moyen"] == str(largest)
