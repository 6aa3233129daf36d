import json
from collections.abc import Callable
from typing import Any

import requests
from confluent_kafka import Producer
from programs import PATIENCE_S
from prometheus_client.parser import text_string_to_metric_families as parse

from salesviews import topics
from salesviews.settings import Settings

MESSAGES = 50


def test_a_processor_tells_what_it_did(
    settings: Callable[..., Settings],
    start_process: Callable[..., Any],
    free_port: Callable[[], int],
    eventually: Callable[..., Any],
) -> None:
    """Law: the messages that it took, and the commits that it made, are counted where its port is set."""
    mine = settings(METRICS_PORT=free_port(), BRONZE_INTERVAL_S=0.5)
    topics.create(mine)
    producer = Producer(mine.kafka_config)
    for number in range(MESSAGES):
        producer.produce(mine.topic, json.dumps({"vente_id": number}))
    producer.flush()
    program = start_process("ingest", settings=mine)

    def told() -> dict[tuple[str, ...], float]:
        assert program.popen.poll() is None, program.output
        try:
            text = requests.get(f"http://127.0.0.1:{mine.metrics_port}/metrics", timeout=PATIENCE_S).text
        except requests.ConnectionError:
            return {}
        return {(each.name, *each.labels.values()): each.value for family in parse(text) for each in family.samples}

    taken = ("salesviews_batch_messages_total", "ingest")
    committed = ("salesviews_commit_seconds_count", "bronze/ventes_stream")
    eventually(lambda: told().get(taken) == MESSAGES and told().get(committed), what="all was taken and committed")
    assert told()["salesviews_batch_seconds_count", "ingest"] >= 1
