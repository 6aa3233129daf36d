import base64
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from confluent_kafka import Producer
from oracle import Oracle, hour_of
from pipelines import (
    Pipeline,
    assert_audit_holds,
    assert_bronze_is,
    assert_silver_is,
    assert_topics_are,
    bronze,
    cents,
    in_total_order,
)

from salesviews.simulation import market

SEED = 7
SALES = 6_000
SECONDS = 12

HOSTILE: list[bytes | None] = [
    None,
    b"",
    b" ",
    b"{",
    b'{"vente_id": 1',
    b"\xff\xfe\x00",
    b'{"vente_id": "\\ud800"}',
    b"[]",
    b"12",
    b"null",
    b'{"vente_id": NaN}',
    b'{"vente_id": 1e400, "client_id": 1, "montant": 1, "quantite": 1, "timestamp": "2026-01-01T00:00:00"}',
    b'{"vente_id": 9223372036854775808, "client_id": 1, "montant": 1, "quantite": 1, "timestamp": "2026-01-01T00:00"}',
    b"[" * 300 + b"]" * 300,
]


def sale(**fields: Any) -> bytes:
    ordinary = {
        "client_id": 1,
        "produit_id": 2,
        "timestamp": "2026-03-01T12:00:00Z",
        "quantite": 1,
        "montant": 10,
        "client_nom": "A",
        "produit_nom": "B",
        "categorie": "C",
        "pays": "D",
        "segment": "E",
    }
    return json.dumps(ordinary | fields).encode()


EXTREME = [
    sale(vente_id=1, montant=9999999999999999, produit_nom="le plus cher", quantite=2**63 - 1),
    sale(vente_id=2, montant=9999999999999999, produit_nom="le plus cher", quantite=2**63 - 1),
    sale(vente_id=3, montant="9999999999999999.99", produit_nom="le plus cher", client_id=-(2**63)),
    sale(vente_id=4, produit_nom="n" * 1_000_000),
    sale(vente_id=5, produit_nom="nul \x00 ici", pays="", categorie="\x00"),
    sale(vente_id=6, produit_nom=None, pays=None, categorie=None, segment=None),
    sale(vente_id=7, produit_nom="inconnu", pays="inconnu", categorie="inconnu", segment="inconnu"),
    sale(vente_id=8, timestamp="0001-01-01T00:00:00"),
    sale(vente_id=9, timestamp="9999-12-31T23:59:59"),
    sale(vente_id=10, timestamp="2026-01-01T00:30:00+01:00"),
    sale(vente_id=11, montant=-0.0),
    sale(vente_id=12, produit_nom={"nom": "B"}),
    sale(vente_id=-(2**63)),
    sale(vente_id=2**63 - 1),
    b'{"vente_id": 13, "vente_id": 14, "client_id": 1, "montant":1799.985,"quantite":1,"timestamp":"2026-01-01 00:00"}',
    sale(vente_id=15, inconnu_du_schema={"a": [1, 2, {"b": None}]}),
    sale(vente_id=16, produit_nom="<script>alert(1)</script>' OR 1=1 --"),
]


def produce(pipeline: Pipeline, produced: list[int]) -> None:
    """Three producers side by side with different keys: the market's dirty sales, and hostile bytes in between."""
    settings = pipeline.settings
    end = datetime.now(UTC)
    batches = market.messages(SEED, SALES, end - timedelta(days=40), end, dirty_pct=20, late_pct=5, first_id=100)
    payloads = [payload for batch in batches for _, payload in batch]
    every = SALES // len(HOSTILE + EXTREME)
    for place, payload in enumerate([*HOSTILE, *EXTREME]):
        payloads.insert(place * every, payload)

    def run(number: int) -> None:
        producer = Producer({**settings.kafka_config, "message.max.bytes": 4_000_000})
        start = time.monotonic()
        mine = payloads[number::3]
        for place, payload in enumerate(mine):
            time.sleep(max(start + place * SECONDS / len(mine) - time.monotonic(), 0))
            key = [None, str(place % 50).encode(), b"always the same"][number]
            producer.produce(
                settings.topic, payload, key=key, headers=[("source", b"test")] if place % 7 == 0 else None
            )
            producer.poll(0)
        assert producer.flush(30) == 0
        produced.append(len(mine))

    producers = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()


@pytest.fixture
def counted(pipeline: Pipeline, eventually: Callable[..., Any]) -> tuple[Pipeline, Oracle, int]:
    """The pipeline after all of it, one ingest added and all killed in the middle, and what the witness says of it."""
    for name in ("ingest-1", "views-1", "web-1"):
        pipeline.start(name)
    produced: list[int] = []
    producing = threading.Thread(target=produce, args=(pipeline, produced))
    producing.start()
    eventually(lambda: pipeline.has_counted(500), 120, "the first sales counted")
    pipeline.start("ingest-2")
    pipeline.kill_and_restart("views-1")
    pipeline.kill_and_restart("ingest-1")
    eventually(lambda: pipeline.has_counted(3_000), 120, "half of the sales counted after the kills")
    pipeline.kill_and_restart("ingest-2")
    producing.join()
    total = sum(produced)
    eventually(lambda: pipeline.has_counted(total), 120, "all sales counted")
    return pipeline, Oracle(in_total_order(pipeline)), total


def test_everything_is_what_the_witness_says(
    counted: tuple[Pipeline, Oracle, int], eventually: Callable[..., Any]
) -> None:
    """Law: hostile and dirty messages of several producers, kills in the middle: every table and answer is exact.

    The readers are others' programs: polars for Silver and Bronze, a plain consumer for the topics.
    """
    pipeline, witness, total = counted
    assert len(witness.outcomes) == total
    assert {result for _, _, result in witness.outcomes} > {"valide", "doublon", "json_invalide", "message_vide"}
    assert_silver_is(pipeline, witness)
    assert_bronze_is(pipeline, witness)
    assert any(row["headers"] == [{"key": "source", "value": b"test"}] for row in bronze(pipeline))
    assert_api_is(pipeline, witness, eventually)
    assert_lineage_is(pipeline, witness)
    assert_topics_are(pipeline, witness)
    assert_audit_holds(pipeline)
    assert_audit_is_shown(pipeline, total, eventually)


def assert_audit_is_shown(pipeline: Pipeline, total: int, eventually: Callable[..., Any]) -> None:
    """`/api/status` shows the audit that was made while the pipeline is live."""
    last = eventually(lambda: pipeline.get("/api/status")["data"]["audit"], 30, "the audit shown")
    assert (last["holds"], last["messages"], last["differences"]) == (True, total, [])


def assert_api_is(pipeline: Pipeline, witness: Oracle, eventually: Callable[..., Any]) -> None:
    """Every figure of the API is the witness's, and the answer says which snapshot it is of."""
    newest = pipeline.manifest()
    assert newest is not None
    eventually(lambda: pipeline.get("/api/quality")["snapshot"]["id"] == newest.id, 30, "the newest snapshot served")
    answer = pipeline.get("/api/quality")
    assert answer["data"] == witness.quality
    assert {place["partition"]: place["offset"] for place in answer["snapshot"]["positions"]} == {
        source.partition: offset for source, offset in newest.positions.items()
    }
    eventually(lambda: pipeline.get("/api/quality")["snapshot"]["caught_up"] is True, 30, "caught up")

    shown = pipeline.get("/api/top_products?limit=1000", Decimal)["data"]
    assert [row["revenue_total"] for row in shown] == sorted((row["revenue_total"] for row in shown), reverse=True)
    assert rows_by(shown, "produit_nom", "categorie") == rows_by(witness.top_produits, "produit_nom", "categorie")
    keys = ("produit_nom", "categorie", "pays", "annee", "mois")
    shown = pipeline.get("/api/aggregated_sales", Decimal)["data"]
    assert rows_by(shown, *keys) == rows_by(witness.ventes_aggreges, *keys)
    france = [row for row in witness.ventes_aggreges if (row["pays"], row["mois"]) == ("France", 3)]
    shown = pipeline.get("/api/aggregated_sales?month=3&pays=France", Decimal)["data"]
    assert rows_by(shown, *keys) == rows_by(france, *keys)

    days = {row["heure"].date() for row in witness.hourly_sales}
    for day in days:
        shown = pipeline.get(f"/api/hourly_sales?date={day}", Decimal)["data"]
        assert [row["heure"] for row in shown] == [f"{day} {hour:02d}:00" for hour in range(24)]
        assert {row["heure"]: (row["ventes_count"], cents(row["revenue_total"])) for row in shown} == hours(
            witness, day
        )


def assert_lineage_is(pipeline: Pipeline, witness: Oracle) -> None:
    """From a figure of the API to the raw messages behind it, byte for byte, and from a message to its outcome."""
    for row in sorted(witness.hourly_sales, key=lambda row: -row["ventes_count"])[:3]:
        window = f"{row['heure']:%Y-%m-%dT%H:%M}"
        data = pipeline.get(f"/api/lineage?view=hourly_sales&window={window}&limit=1000", Decimal)["data"]
        assert data["adds_up"] is True
        assert data["figure"]["ventes_count"] == row["ventes_count"] == data["behind"]["total"]
        assert cents(data["sums"]["revenue_total"]) == cents(row["revenue_total"])
        assert [received(each) for each in data["behind"]["messages"]] == [
            (message.partition, message.offset, message.payload)
            for message, outcome, result in witness.outcomes
            if result == "valide" and hour_of(outcome.fields["timestamp"]) == row["heure"]
        ]
    for motif in {result for _, _, result in witness.outcomes}:
        message = next(message for message, _, result in witness.outcomes if result == motif)
        position = f"{message.topic_id}/{message.partition}/{message.offset}"
        [told] = pipeline.get(f"/api/lineage?{urlencode({'position': position})}")["data"]["messages"]
        assert (told["outcome"], told["agrees"]) == (motif, True)
        assert received(told) == (message.partition, message.offset, message.payload)


def received(told: dict[str, Any]) -> tuple[int, int, bytes | None]:
    payload, at = told["raw"]["payload"], told["position"]
    if payload is None:
        return at["partition"], at["offset"], None
    data = payload["data"].encode() if payload["encoding"] == "utf-8" else base64.b64decode(payload["data"])
    return at["partition"], at["offset"], data


def hours(witness: Oracle, day: date) -> dict[str, tuple[int, int]]:
    empty = {f"{day} {hour:02d}:00": (0, 0) for hour in range(24)}
    return empty | {
        f"{row['heure']:%Y-%m-%d %H:%M}": (row["ventes_count"], cents(row["revenue_total"]))
        for row in witness.hourly_sales
        if row["heure"].date() == day
    }


def rows_by(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    money = ("revenue_total", "chiffre_affaires", "panier_moyen")

    def plain(name: str, value: Any) -> Any:
        return cents(value) if name in money else float(value) if name == "quantite_moyenne" else value

    return {tuple(row[key] for key in keys): {name: plain(name, row[name]) for name in row} for row in rows}
