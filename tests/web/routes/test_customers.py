from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import answered
import pytest
from oracle import quotient

Sales = list[dict[str, Any]]


def by_client(sales: Sales) -> dict[int, Sales]:
    groups: dict[int, Sales] = defaultdict(list)
    for sale in sales:
        groups[sale["client_id"]].append(sale)
    return groups


def total(sales: Sales) -> Decimal:
    return sum((sale["montant"] for sale in sales), Decimal("0.00"))


def moment(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"


def figures(sales: Sales) -> dict[str, str]:
    return {
        "ventes_count": str(len(sales)),
        "revenue_total": str(total(sales)),
        "quantite_totale": str(sum(sale["quantite"] for sale in sales)),
        "premiere_vente": moment(min(sale["timestamp"] for sale in sales)),
        "derniere_vente": moment(max(sale["timestamp"] for sale in sales)),
        "panier_moyen": str(quotient(total(sales), len(sales))),
    }


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ({}, datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)),
        (
            {"from": "2025-12-01", "to": "2026-01-31"},
            datetime(2025, 12, 1, tzinfo=UTC),
            datetime(2026, 2, 1, tzinfo=UTC),
        ),
    ],
    ids=["all time", "months"],
)
def test_what_each_is_worth(years_web: Any, query: dict[str, str], start: Any, end: Any) -> None:
    """Law: each customer that bought, with what they bought in all or in some months, the largest revenue first."""
    sales = [sale for sale in years_web.oracle.ventes_clean if start <= sale["timestamp"] < end]
    expected = {str(client): figures(of_client) for client, of_client in by_client(sales).items()}
    rows = answered.rows(years_web.client.get("/api/customers", query_string=query))
    order = sorted(expected, key=lambda client: (-Decimal(expected[client]["revenue_total"]), int(client)))
    assert [row["client_id"] for row in rows] == order
    assert {row.pop("client_id"): row for row in rows} == expected


def test_pages_and_orders(years_web: Any) -> None:
    """Law: pages in any order hold every customer once; chosen ones are those alone."""
    everything = answered.rows(years_web.client.get("/api/customers?order=derniere_vente"))
    assert [row["derniere_vente"] for row in everything] == sorted(row["derniere_vente"] for row in everything)
    path, pages = "/api/customers?order=derniere_vente&limit=2", []
    offset = 0
    while offset is not None:
        response = years_web.client.get(f"{path}&offset={offset}")
        pages += answered.rows(response)
        offset = response.json["page"]["next"]
    assert pages == everything
    some = answered.rows(years_web.client.get("/api/customers?client_id=3&client_id=5"))
    assert {row["client_id"] for row in some} == {"3", "5"}


def test_bounds_inside_a_month_are_refused(years_web: Any) -> None:
    """Law: months are not cut in two."""
    response = years_web.client.get("/api/customers?from=2025-12-02")
    assert (response.status_code, response.json["error"]["parameter"]) == (400, "from")


def test_one_customer_by_month(years_web: Any) -> None:
    """Law: what they bought in each month; without a customer it is refused."""
    months: dict[str, Sales] = defaultdict(list)
    for sale in by_client(years_web.oracle.ventes_clean)[3]:
        months[str(sale["timestamp"].date().replace(day=1))].append(sale)
    rows = answered.rows(years_web.client.get("/api/customers/months?client_id=3"))
    assert [row["debut_mois"] for row in rows] == sorted(months)
    assert {row.pop("debut_mois"): row for row in rows} == {name: figures(sales) for name, sales in months.items()}
    for path in ("/api/customers/months", "/api/customers/sales"):
        response = years_web.client.get(path)
        assert (response.status_code, response.json["error"]["parameter"]) == (400, "client_id")


def test_the_sales_of_one_customer(years_web: Any) -> None:
    """Law: every sale of theirs that counts, the latest first, in pages; of nobody there are none."""
    sales = by_client(years_web.oracle.ventes_clean)[3]
    sales.sort(key=lambda sale: (-sale["timestamp"].timestamp(), sale["vente_id"]))
    first = years_web.client.get("/api/customers/sales?client_id=3&limit=7")
    rest = years_web.client.get("/api/customers/sales?client_id=3&offset=7")
    assert first.json["page"]["next"] == 7
    columns = ("vente_id", "produit_nom", "categorie", "quantite", "montant", "pays", "segment")
    assert answered.rows(first) + answered.rows(rest) == [
        {name: answered.text(sale[name]) for name in columns} | {"timestamp": moment(sale["timestamp"])}
        for sale in sales
    ]
    assert answered.rows(years_web.client.get("/api/customers/sales?client_id=-7")) == []


def test_new_and_returning(years_web: Any) -> None:
    """Law: each month's customers, and those of them whose first month it is, with their revenue."""
    months: dict[date, dict[int, Sales]] = defaultdict(lambda: defaultdict(list))
    first: dict[int, date] = {}
    for client, sales in by_client(years_web.oracle.ventes_clean).items():
        for sale in sales:
            months[sale["timestamp"].date().replace(day=1)][client].append(sale)
        first[client] = min(sale["timestamp"] for sale in sales).date().replace(day=1)
    rows = answered.rows(years_web.client.get("/api/customers/returning"))
    assert [row["debut_mois"] for row in rows[:: len(rows) - 1]] == [str(min(months)), str(max(months))]
    assert any(row["clients"] == "0" for row in rows)
    for row in rows:
        month = date.fromisoformat(row["debut_mois"])
        clients = months.get(month, {})
        new = [client for client in clients if first[client] == month]
        back = [client for client in clients if first[client] != month]
        assert row == {
            "debut_mois": str(month),
            "clients": str(len(clients)),
            "nouveaux": str(len(new)),
            "fideles": str(len(back)),
            "revenue_nouveaux": str(total([sale for client in new for sale in clients[client]])),
            "revenue_fideles": str(total([sale for client in back for sale in clients[client]])),
        }


def test_the_view_is_served_as_any_other(years_web: Any) -> None:
    """Law: its rows, grouped as asked, the first and last sale of a group being the least and the most."""
    sales = years_web.oracle.ventes_clean
    (row,) = answered.rows(years_web.client.get("/api/views/ventes_par_client?group_by=&granularity=all"))
    assert row == {name: value for name, value in figures(sales).items() if name != "panier_moyen"}
    rows = answered.rows(years_web.client.get("/api/views/ventes_par_client?granularity=year&client_id=3"))
    years = {sale["timestamp"].year for sale in by_client(sales)[3]}
    assert {row["debut_annee"] for row in rows} == {f"{year}-01-01" for year in years}
    assert years_web.client.get("/api/views/ventes_par_client?granularity=day").status_code == 400


def test_single_customers_are_no_dimension_of_sales(years_web: Any) -> None:
    """Law: what is for everybody does not tell of single customers."""
    assert years_web.client.get("/api/sales?client_id=3").status_code == 400
    assert years_web.client.get("/api/keys?dimension=client_id").status_code == 400
    assert "client_id" not in years_web.client.get("/api/keys").text
