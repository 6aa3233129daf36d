from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from salesviews import event

HOUR = datetime(2025, 12, 22, 10, tzinfo=UTC)


def outcome(motif: str, messages: int, rounded: int = 0, **nulls: int) -> dict[str, Any]:
    counts = {f"nuls_{field}": count for field, count in nulls.items()}
    return {"motif": motif, "heure": HOUR, "messages": messages, "montants_arrondis": rounded, **counts}


def report(client: FlaskClient, silver: Any, store: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    silver.put("qualite", rows)
    silver.snapshot()
    store.refresh()
    response = client.get("/api/quality")
    assert response.status_code == 200
    return dict(response.json["data"])


def test_every_message_is_in_one_figure(client: FlaskClient, silver: Any, store: Any) -> None:
    """Received is valid, duplicates and rejections together, over all hours; what was lost is no message received."""
    later = {**outcome("valide", 1), "heure": HOUR.replace(hour=11)}
    rows = [
        outcome("valide", 998_499, rounded=7, pays=40),
        later,
        outcome("doublon", 1000, rounded=1),
        outcome("json_invalide", 300, **dict.fromkeys(event.FIELD_NAMES, 300)),
        outcome("montant_negatif", 200),
        outcome("perdu", 55),
    ]
    data = report(client, silver, store, rows)
    assert data["received"] == 1_000_000
    assert data["valid"] == 998_500
    assert data["duplicates"] == 1000
    assert data["rejected"] == dict.fromkeys(event.REJECTIONS, 0) | {"json_invalide": 300, "montant_negatif": 200}
    assert list(data["rejected"]) == list(event.REJECTIONS)
    assert data["rejected_total"] == 500
    assert data["lost"] == 55
    assert data["clean_pct"] == 99.85
    assert data["rounded"] == 8
    assert list(data["nulls"]) == list(event.FIELD_NAMES)
    assert data["nulls"]["pays"] == {"count": 340, "complete_pct": 99.97}
    assert data["nulls"]["vente_id"] == {"count": 300, "complete_pct": 99.97}


def test_a_percentage_of_nothing_is_null(client: FlaskClient, silver: Any, store: Any) -> None:
    """An empty system has zeros, and neither a good nor a bad quality."""
    data = report(client, silver, store, [])
    assert (data["received"], data["valid"], data["duplicates"], data["rejected_total"]) == (0, 0, 0, 0)
    assert data["clean_pct"] is None
    assert {field["complete_pct"] for field in data["nulls"].values()} == {None}


def test_a_motif_of_a_newer_program_is_counted(client: FlaskClient, silver: Any, store: Any) -> None:
    """A motif that this program does not know is a rejection all the same: no message is left out."""
    data = report(client, silver, store, [outcome("valide", 1), outcome("motif_futur", 2)])
    assert data["received"] == data["valid"] + data["duplicates"] + data["rejected_total"] == 3
    assert data["rejected"]["motif_futur"] == 2


def test_it_takes_no_parameter(client: FlaskClient) -> None:
    """A filter that it has not is refused, by its name."""
    response = client.get("/api/quality?month=3")
    assert response.status_code == 400
    assert response.json["error"]["parameter"] == "month"
