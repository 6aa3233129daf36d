"""After the storm: the producers' ledger against Kafka, and both against everything that the pipeline shows."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

import pytest
from chaos.ledger import Entry, Ledger, Place
from pipelines import Pipeline, assert_everything_is_exact, read_topic, silver

from salesviews.simulation.market import Nature

_CENT = Decimal("0.01")
_SHOWN = 5


def judge(pipeline: Pipeline, ledger: Ledger, shown: tuple[int, Decimal]) -> Iterator[str]:
    """What does not hold. The processors have ended, the broker runs.

    :param shown: the number of sales and the revenue that the API showed last
    """
    in_kafka = {
        (message.partition(), message.offset()): message.value()
        for message in read_topic(pipeline.settings, pipeline.settings.topic)
    }
    yield from _kafka_has_what_it_acknowledged(in_kafka, ledger)
    yield from _silver_has_each_sale_once(pipeline, ledger, shown)
    try:
        assert_everything_is_exact(pipeline)
    except (AssertionError, pytest.fail.Exception) as error:
        yield f"against the witness: {error}"


def _kafka_has_what_it_acknowledged(in_kafka: dict[Place, bytes | None], ledger: Ledger) -> Iterator[str]:
    acknowledged = {entry.place: entry.payload for entry in ledger.acknowledged}
    lost = [place for place, payload in acknowledged.items() if place not in in_kafka or in_kafka[place] != payload]
    if lost:
        yield f"Kafka lost {len(lost)} messages that it had acknowledged, at {lost[:_SHOWN]}"
    # A producer may send a message once more around the death of a broker: then it is a duplicate, as any other.
    sent = {entry.payload for entry in ledger.entries}
    if strangers := [payload for payload in in_kafka.values() if payload not in sent]:
        yield f"Kafka has {len(strangers)} messages that nobody sent: {strangers[:_SHOWN]}"


def _silver_has_each_sale_once(pipeline: Pipeline, ledger: Ledger, shown: tuple[int, Decimal]) -> Iterator[str]:
    """Without the witness: by what the producers know."""
    amounts: dict[int, set[Decimal]] = defaultdict(set)
    must: set[int] = set()
    for entry in ledger.entries:
        if entry.nature is Nature.REJECTED:
            continue
        identity, amount = _sale(entry)
        amounts[identity].add(amount)
        if entry.place:
            must.add(identity)
    rows = silver(pipeline, "ventes_clean")
    counted = Counter(row["vente_id"] for row in rows)
    for what, identities in (
        ("lost", must - counted.keys()),
        ("counted twice", {identity for identity, count in counted.items() if count > 1}),
        ("sent by nobody", counted.keys() - amounts.keys()),
        (
            "with an amount that was not sent",
            {r["vente_id"] for r in rows if r["montant"] not in amounts[r["vente_id"]]},
        ),
    ):
        if identities:
            yield f"{len(identities)} sales {what}: {sorted(identities)[:_SHOWN]}"
    total = len(rows), sum((row["montant"] for row in rows), Decimal(0))
    if total != shown:
        yield f"the API showed {shown} at the end, ventes_clean has {total}"


def _sale(entry: Entry) -> tuple[int, Decimal]:
    assert entry.payload is not None
    sale = json.loads(entry.payload, parse_float=Decimal)
    return sale["vente_id"], Decimal(sale["montant"]).quantize(_CENT, ROUND_HALF_UP)
