import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from oracle import Oracle
from pipelines import WITH_A_VIEW, Pipeline, in_total_order, last_values, read_topic, silver

from salesviews.simulation import market

SALES = 800


def test_adding_a_view_is_adding_one_value(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: with one more ``View`` among the declared ones there is one more table, topic, and part of the snapshot.

    One that is kept in Silver has no topic. The processes are the ordinary ones, started with the longer declaration
    and no other change.
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

    by_category: dict[tuple[str, Any], list[dict[str, Any]]] = defaultdict(list)
    by_client: dict[tuple[int, Any], list[datetime]] = defaultdict(list)
    for sale in Oracle(in_total_order(pipeline)).ventes_clean:
        by_category[sale["categorie"] or "inconnu", sale["timestamp"].date()].append(sale)
        by_client[sale["client_id"], sale["timestamp"].date()].append(sale["timestamp"])
    expected = {
        place: (len(sales), sum(sale["montant"] for sale in sales), min(sale["timestamp"] for sale in sales))
        for place, sales in by_category.items()
    }
    measures = ("ventes_count", "revenue_total", "premiere_vente")
    table = silver(pipeline, "ventes_par_categorie")
    assert {(row["categorie"], row["jour"]): tuple(row[name] for name in measures) for row in table} == expected

    published = [
        json.loads(value, parse_float=Decimal)
        for value in last_values(read_topic(settings, f"{settings.topic}-vues-ventes_par_categorie")).values()
    ]
    assert {(row["categorie"], row["jour"]): tuple(row[name] for name in measures) for row in published} == {
        (categorie, jour.isoformat()): (count, revenue, f"{first:%Y-%m-%dT%H:%M:%S.%f}Z")
        for (categorie, jour), (count, revenue, first) in expected.items()
    }

    assert {
        (row["client_id"], row["jour"]): (row["ventes_count"], row["derniere_vente"])
        for row in silver(pipeline, "clients_par_jour")
    } == {place: (len(timestamps), max(timestamps)) for place, timestamps in by_client.items()}
    topics = AdminClient(settings.kafka_config).list_topics(timeout=30).topics
    assert f"{settings.topic}-vues-ventes_par_categorie" in topics
    assert f"{settings.topic}-vues-clients_par_jour" not in topics
