import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from confluent_kafka import Producer
from oracle import Oracle
from pipelines import WITH_A_VIEW, Pipeline, in_total_order, last_values, read_topic, silver

from salesviews import market

SALES = 800


def test_adding_a_view_is_adding_one_value(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: with one more ``View`` among the declared ones there is one more table, topic, and part of the snapshot.

    The processes are the ordinary ones, started with the longer declaration and no other change.
    """
    settings = pipeline.settings
    for name in ("ingest-1", "views-1"):
        pipeline.start(name, command=WITH_A_VIEW)
    end = datetime.now(UTC)
    producer = Producer(settings.kafka_config)
    for batch in market.messages(3, SALES, end - timedelta(days=3), end, dirty_pct=5, late_pct=5, first_id=1):
        for key, payload in batch:
            producer.produce(settings.topic, payload, key=key)
    assert producer.flush(30) == 0
    eventually(lambda: pipeline.has_counted(SALES), 120, "all sales counted")

    expected: dict[tuple[str, Any], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for sale in Oracle(in_total_order(pipeline)).ventes_clean:
        place = (sale["categorie"] or "inconnu", sale["timestamp"].date())
        count, revenue = expected[place]
        expected[place] = (count + 1, revenue + sale["montant"])
    table = silver(pipeline, "ventes_par_categorie")
    assert {(row["categorie"], row["jour"]): (row["ventes_count"], row["revenue_total"]) for row in table} == expected

    published = [
        json.loads(value, parse_float=Decimal)
        for value in last_values(read_topic(settings, "vues-ventes_par_categorie")).values()
    ]
    assert {(row["categorie"], row["jour"]): (row["ventes_count"], row["revenue_total"]) for row in published} == {
        (categorie, jour.isoformat()): figures for (categorie, jour), figures in expected.items()
    }
