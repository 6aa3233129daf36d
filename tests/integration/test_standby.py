from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer
from oracle import Oracle
from pipelines import Pipeline, assert_silver_is, in_total_order

from salesviews.simulation import market

SALES = 400


def produce(pipeline: Pipeline, first_id: int) -> None:
    producer = Producer(pipeline.settings.kafka_config)
    end = datetime.now(UTC)
    for batch in market.messages(first_id, SALES, end - timedelta(days=3), end, 10, 5, first_id):
        for key, payload in batch:
            producer.produce(pipeline.settings.topic, payload, key=key)
    assert producer.flush(30) == 0


def test_a_standby_takes_over_for_a_views_process_that_does_not_come_back(
    pipeline: Pipeline, eventually: Callable[..., Any]
) -> None:
    """Law: of two views processes one counts; when it is killed the other one goes on, and every figure is exact."""
    for name in ("ingest-1", "views-1"):
        pipeline.start(name)
    produce(pipeline, 1_000)
    eventually(lambda: pipeline.has_counted(SALES), 120, "the first sales counted")
    pipeline.start("views-2")
    produce(pipeline, 2_000)
    eventually(lambda: pipeline.has_counted(2 * SALES, may_restart=True), 120, "sales counted beside a standby")
    produce(pipeline, 3_000)
    pipeline.programs.pop("views-1").kill()
    eventually(lambda: pipeline.has_counted(3 * SALES, may_restart=True), 150, "sales counted by the standby")
    assert_silver_is(pipeline, Oracle(in_total_order(pipeline)))
