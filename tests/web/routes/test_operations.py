from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

import salesviews
from salesviews import lake
from salesviews.audit import audit_result
from salesviews.errors import BrokerError


def test_healthy_while_it_serves(client: FlaskClient, kafka: Any) -> None:
    """Liveness asks nothing of Kafka or of the lake: starting the server again would mend neither."""
    kafka.error = BrokerError("away")
    assert client.get("/healthz").status_code == 200


def test_ready_with_the_topics_and_a_first_snapshot(
    client: FlaskClient, silver: Any, store: Any, kafka: Any, pipeline: Any
) -> None:
    """Each thing that is missing is named; an empty system is ready."""
    response = client.get("/readyz")
    assert (response.status_code, response.json["error"]["code"]) == (503, "no_topics")

    kafka.missing_topics = ("ventes-typees",)
    pipeline.look()
    response = client.get("/readyz")
    assert (response.status_code, response.json["error"]["code"]) == (503, "no_topics")
    assert "ventes-typees" in response.json["error"]["message"]

    kafka.missing_topics = ()
    pipeline.look()
    response = client.get("/readyz")
    assert (response.status_code, response.json["error"]["code"]) == (503, "no_snapshot")

    silver.snapshot()
    store.refresh()
    assert client.get("/readyz").status_code == 200


def test_stays_ready_without_kafka(client: FlaskClient, silver: Any, store: Any, kafka: Any, pipeline: Any) -> None:
    """Kafka being away later takes no dashboard down: the figures are right as of their snapshot."""
    silver.snapshot()
    store.refresh()
    pipeline.look()
    kafka.error = BrokerError("away")
    pipeline.look()
    assert client.get("/readyz").status_code == 200
    assert client.get("/api/top_products").status_code == 200


def test_status_tells_the_lag_of_the_figures(
    client: FlaskClient, silver: Any, store: Any, kafka: Any, pipeline: Any, clock: Any
) -> None:
    """By partition and in total, for how long, with what Kafka says of both groups."""
    silver.snapshot({0: 10, 1: 20})
    store.refresh()
    kafka.ends = {0: 10, 1: 25, 2: 4}
    pipeline.look()
    clock.advance(seconds=3)
    body = client.get("/api/status").json
    lag = body["data"]["lag"]
    assert lag["messages"] == 9
    assert lag["waiting_ms"] == 3000
    assert [(each["partition"], each["position"], each["end"], each["messages"]) for each in lag["partitions"]] == [
        (0, 10, 10, 0),
        (1, 20, 25, 5),
        (2, 0, 4, 4),
    ]
    assert body["snapshot"]["age_ms"] == 3000
    assert body["data"]["processors"]["ingest"] == {
        "id": "salesviews-ventes-ingest",
        "state": "stable",
        "members": [],
        "lag": 0,
    }
    assert body["data"]["versions"]["salesviews"] == salesviews.__version__


def test_status_tells_versions_and_rows_of_tables(client: FlaskClient, silver: Any, store: Any) -> None:
    """Every table that the manifest names with its version, and with its rows where it is loaded."""
    products = [{"produit_nom": name, "categorie": "c", "ventes_count": 1} for name in "abc"]
    version = silver.put("top_produits", products)
    silver.snapshot()
    store.refresh()
    tables = client.get("/api/status").json["data"]["snapshot"]["tables"]
    assert tables["silver/top_produits"] == {"version": version, "rows": 3}
    assert tables["silver/ventes_clean"] == {"version": 0, "rows": None}
    assert set(tables) == {table.name for table in lake.SILVER}
    silver.put("top_produits", products[:1])
    silver.snapshot()
    store.refresh()
    tables = client.get("/api/status").json["data"]["snapshot"]["tables"]
    assert tables["silver/top_produits"] == {"version": version + 1, "rows": 1}


def test_status_before_anything_is_there(client: FlaskClient, kafka: Any, pipeline: Any) -> None:
    """It answers without a snapshot and without Kafka, and says what is missing."""
    kafka.error = BrokerError("Kafka on nowhere:1 does not answer")
    pipeline.look()
    body = client.get("/api/status").json
    assert body["snapshot"] is None
    assert body["data"]["processors"] is None
    assert body["data"]["lag"] == {"messages": None, "waiting_ms": None, "partitions": None}
    assert body["data"]["kafka"]["trouble"] == "Kafka on nowhere:1 does not answer"


def test_status_names_a_file_that_cannot_be_read(client: FlaskClient, silver: Any, store: Any, eventually: Any) -> None:
    """While the snapshot before is served, the status says what is wrong with the newest."""
    first = silver.snapshot()
    store.refresh()
    silver.put("top_produits", [{"produit_nom": "a", "categorie": "c"}])
    (file,) = Path(silver.lake.root, "silver", "top_produits").rglob("*.parquet")
    file.unlink()
    silver.snapshot()
    store.start()
    try:
        eventually(lambda: store.failure, what="the failure is known")
        body = client.get("/api/status").json
        assert str(file) in body["data"]["snapshot"]["failure"]["message"]
        assert body["data"]["snapshot"]["failure"]["attempts"] >= 1
        assert body["snapshot"]["id"] == first.id
    finally:
        store.close()


def test_status_shows_the_last_audit(client: FlaskClient, home: Path) -> None:
    """None before the first one; then the result as the audit left it, whatever came of it."""
    assert client.get("/api/status").json["data"]["audit"] is None
    home.mkdir()
    (home / audit_result.FILE).write_text('{"holds": false, "differences_total": 3}', encoding="utf-8")
    assert client.get("/api/status").json["data"]["audit"] == {"holds": False, "differences_total": 3}
