import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from confluent_kafka import Producer
from oracle import Oracle
from pipelines import Pipeline, assert_silver_is, in_total_order

from salesviews import lake, maintenance
from salesviews.maintenance import Options
from salesviews.maintenance.maintenance_result import Result
from salesviews.maintenance.retention import Retention
from salesviews.simulation import market
from sinks.appends import writer_properties

SECONDS = 25
SALES = 750
OPTIONS = Options(Retention(days=1, step_s=5, recent_s=10), grace_s=10, small_files=5)
"""An hour is ten seconds here."""

QUESTIONS = ("/api/top_products", "/api/aggregated_sales", "/api/hourly_sales", "/api/quality")


def produce(pipeline: Pipeline) -> None:
    producer = Producer(pipeline.settings.kafka_config)
    end = datetime.now(UTC)
    start_s = time.monotonic()
    batches = market.messages(7, SALES, end - timedelta(days=40), end, 10, 5, 1)
    for place, (key, payload) in enumerate(message for batch in batches for message in batch):
        time.sleep(max(start_s + place * SECONDS / SALES - time.monotonic(), 0))
        producer.produce(pipeline.settings.topic, payload, key=key)
        producer.poll(0)
    assert producer.flush(30) == 0


def ask(pipeline: Pipeline, question: str) -> tuple[int, dict[str, Any], bytes]:
    """Status, the whole answer, and the text of its figures."""
    answer = requests.get(f"{pipeline.settings.url}{question}", timeout=30)
    return answer.status_code, answer.json(), answer.content.partition(b',"snapshot":')[0]


@contextmanager
def in_background(step: Callable[[], None]) -> Iterator[None]:
    """Repeats a step in a thread; what it raises is raised here at the end."""
    is_over = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not is_over.is_set():
                step()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    if failures:
        raise failures[0]


def test_maintenance_beside_a_live_pipeline(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: two maintenances at a time beside live processes, one of which is killed, change no figure.

    At the end everything is what the witness says, the audit agrees, files are few, and each snapshot that is kept
    answers with the bytes that it answered with while it was served.
    """
    for name in ("ingest-1", "ingest-2", "views-1", "web-1"):
        pipeline.start(name)
    live: dict[int, dict[str, bytes]] = {}
    results: list[Result] = []

    def watch() -> None:
        for question in QUESTIONS:
            status, answer, data = ask(pipeline, question)
            assert status == 200, answer
            assert live.setdefault(answer["snapshot"]["id"], {}).setdefault(question, data) == data
        time.sleep(0.2)

    def maintain() -> None:
        results.append(maintenance.run(pipeline.lake, OPTIONS, writer_properties))
        time.sleep(1)

    eventually(lambda: pipeline.has_counted(0) and requests.get(f"{pipeline.settings.url}/readyz").ok, 120, "ready")
    producing = threading.Thread(target=produce, args=(pipeline,))
    producing.start()
    with in_background(watch), in_background(maintain), in_background(maintain):
        eventually(lambda: pipeline.has_counted(SALES // 2), 120, "half of the sales counted")
        pipeline.kill_and_restart("views-1")
        producing.join()
        eventually(lambda: pipeline.has_counted(SALES), 120, "all sales counted")
    maintain()

    assert all(result.is_done for result in results), results
    assert sum(table.compacted for result in results for table in result.tables) > 0
    assert sum(table.deleted for result in results for table in result.tables) > 0
    assert_silver_is(pipeline, Oracle(in_total_order(pipeline)))
    audit = pipeline.start_process("audit", "--json", settings=pipeline.settings)
    assert audit.wait() == 0, audit.output

    kept = {each["id"] for each in pipeline.get("/api/snapshots?limit=1000")["data"]["snapshots"]}
    for identity, answers in live.items():
        for question, data in answers.items():
            status, answer, found = ask(pipeline, f"{question}?as_of={identity}")
            if identity in kept:
                assert status == 200, answer
                assert found == data, (identity, question)
            else:
                assert status == 410, answer
    newest = pipeline.manifest()
    assert newest is not None
    assert len(kept) < newest.id
    assert len(kept & live.keys()) > 5
    for table in lake.OVERWRITTEN:
        months = len({file.partition for file in newest.files[table.name]})
        on_disk = len(list(Path(pipeline.lake.uri(table)).rglob("part-*.parquet")))
        assert on_disk <= (len(kept) + 30) * max(months, 1), table.name
