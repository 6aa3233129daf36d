"""Questions that read single sales and messages from the lake."""

from typing import Any

import answered
from oracle import label

from salesviews.lineage.queries import Bounds
from web import reading


def test_an_earlier_snapshot_answers(witnessed_web: Any) -> None:
    """Law: as of an earlier snapshot, the sales and messages are those that it covers."""
    made, client = witnessed_web.made, witnessed_web.client
    oracle, as_of = made.oracle(0), made.manifest(0).id
    assert len(oracle.ventes_clean) < len(witnessed_web.oracle.ventes_clean)
    assert {sale["timestamp"].month for sale in oracle.ventes_clean} == {2}

    query = f"as_of={as_of}&from=2026-02-01&to=2026-02-28&pays=France"
    (row,) = answered.rows(client.get(f"/api/unique_customers?{query}"))
    french = {sale["client_id"] for sale in oracle.ventes_clean if label(sale["pays"]) == "France"}
    assert row["clients"] == str(len(french))

    baskets = {(sale["client_id"], sale["timestamp"].date()) for sale in oracle.ventes_clean}
    (pair, *_) = answered.rows(client.get(f"/api/affinity?as_of={as_of}&least=1"))
    assert float(pair["support"]) * len(baskets) == float(pair["paniers"])

    rejects = client.get(f"/api/rejects?as_of={as_of}&limit=200")
    assert rejects.json["snapshot"]["as_of"] == str(as_of)
    assert len(answered.rows(rejects)) == len(oracle.ventes_rejetees)

    (best, *_) = answered.rows(client.get(f"/api/customers?as_of={as_of}"))
    sales = answered.rows(client.get(f"/api/customers/sales?as_of={as_of}&client_id={best['client_id']}"))
    assert len(sales) == int(best["ventes_count"])


def test_too_much_is_said(years_web: Any) -> None:
    """Law: what takes more than the bounds allow is a 503 that says so, and what to do; others are answered."""
    client = years_web.with_reader(reading.LakeReader(years_web.made.lake, Bounds(time_s=0.0, remedy="ask for less")))
    response = client.get("/api/affinity?from=2025-12-10")
    assert (response.status_code, response.json["error"]["code"]) == (503, "too_much")
    assert "ask for less" in response.json["error"]["message"]
    assert client.get("/api/customers").status_code == 200


def test_no_more_than_some_at_once(years_web: Any) -> None:
    """Law: a question beyond those that are being answered is told to come again."""
    client = years_web.with_reader(reading.LakeReader(years_web.made.lake, at_once=0, wait_s=0.0))
    response = client.get("/api/affinity?from=2025-12-10")
    assert (response.status_code, response.json["error"]["code"]) == (503, "busy")
    assert response.headers["Retry-After"] == "1"


def test_an_unchanged_answer_reads_nothing(years_web: Any) -> None:
    """Law: 304 for the ETag of the answer, without a look at the lake; another question has another."""
    path = "/api/affinity?from=2025-12-10"
    tag = years_web.client.get(path).headers["ETag"]
    client = years_web.with_reader(reading.LakeReader(years_web.made.lake, at_once=0, wait_s=0.0))
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    for other in ("&least=3", "&pays=France", "&produit_nom=x", "&to=2026-01-01"):
        assert client.get(path + other, headers={"If-None-Match": tag}).status_code == 503
