"""A whole pipeline as tests drive it, and what it must show: the raw messages, read back, through the witness."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

import polars
import pytest
import requests
from confluent_kafka import Consumer, KafkaError, TopicPartition
from oracle import Message, Oracle

from salesviews import lake, manifest, topics
from salesviews.manifest import Manifest
from salesviews.settings import Settings

Row = dict[str, Any]


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """Every message of a topic, by a plain consumer: partition by partition, each to its end."""
    options = {"group.id": "witness", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(settings.kafka_config | options)
    messages = []
    for partition in sorted(consumer.list_topics(topic, 30).topics[topic].partitions):
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            if (message := consumer.poll(30)) is None:
                pytest.fail(f"{topic}[{partition}] does not give its messages to the end")
            if message.error() is None:
                messages.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                break
            else:
                pytest.fail(f"{topic}[{partition}]: {message.error()}")
    consumer.close()
    return messages


class Pipeline:
    """Processes of one instance: ``ingest-1``, ``views-1``, ``web``…, started, killed and started again by name."""

    def __init__(self, settings: Settings, start_process: Callable[..., Any]) -> None:
        self.settings = settings
        self.lake = lake.Lake(settings.lake)
        self.start_process = start_process
        self.programs: dict[str, Any] = {}

    def start(self, name: str, command: Sequence[str] = ()) -> None:
        """:param command: what stands for ``python -m salesviews``; default: that"""
        process = name.partition("-")[0]
        self.programs[name] = self.start_process(
            process,
            settings=replace(self.settings, instance=name),
            command=[*command, process] if command else None,
        )

    def kill_and_restart(self, name: str) -> None:
        """SIGKILL, then a new process of the same name, as the supervisor does."""
        self.programs[name].kill()
        self.start(name)

    def manifest(self) -> Manifest | None:
        return manifest.read(self.lake) if self.lake.exists(lake.SNAPSHOTS) else None

    def restart_what_ended(self) -> None:
        """Start again what has ended, as the supervisor does."""
        for name, program in list(self.programs.items()):
            if program.popen.poll() is not None:
                self.start(name)

    def has_counted(self, produced: int, may_restart: bool = False) -> bool:
        """Whether the newest snapshot covers so many messages; fails if a process has ended, unless it may."""
        if may_restart:
            self.restart_what_ended()
        for name, program in self.programs.items():
            if program.popen.poll() is not None:
                pytest.fail(f"{name} ended:\n{program.output[-4000:]}")
        found = self.manifest()
        return found is not None and sum(found.positions.values()) >= produced

    def get(self, path: str, parse_float: Callable[[str], Any] = float) -> Any:
        answer = requests.get(f"http://{self.settings.host}:{self.settings.port}{path}", timeout=10)
        answer.raise_for_status()
        return json.loads(answer.content, parse_float=parse_float)


def silver(pipeline: Pipeline, name: str) -> list[Row]:
    """A Silver table as polars reads it, at the newest manifest's version."""
    found = pipeline.manifest()
    assert found is not None
    table = f"silver/{name}"
    rows = polars.read_delta(f"{pipeline.settings.lake}/{table}", version=found.tables[table]).to_dicts()
    return [row for row in rows if row.get("sequence", 0) <= found.sequence]


def in_total_order(pipeline: Pipeline) -> list[Message]:
    """The raw messages of Kafka, in the order in which Silver says that they were counted.

    The order is Silver's to choose between partitions; that it has each message once, and each partition's in its
    order, is checked here.
    """
    topic_id = topics.topic_id(pipeline.settings, pipeline.settings.topic)
    raw = {
        (message.partition(), message.offset()): Message(
            message.partition(),
            message.offset(),
            datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            message.value(),
            topic_id,
        )
        for message in read_topic(pipeline.settings, pipeline.settings.topic)
    }
    judged = [*silver(pipeline, "ventes_clean"), *silver(pipeline, "ventes_rejetees")]
    order = [(row["partition"], row["offset"]) for row in sorted(judged, key=lambda row: row["sequence"])]
    assert Counter(order) == Counter(raw.keys())
    for partition in {place[0] for place in order}:
        offsets = [offset for at, offset in order if at == partition]
        assert offsets == sorted(offsets)
    return [raw[place] for place in order]


def comparable(rows: list[Row], leave_out: frozenset[str] = frozenset({"sequence"})) -> Counter[str]:
    return Counter(
        str(sorted((name, _plain(value)) for name, value in row.items() if name not in leave_out)) for row in rows
    )


def _plain(value: Any) -> Any:
    """One form for what readers give differently: instants in UTC, integers and decimals as decimal text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal | int):
        return format(Decimal(value).normalize(_EXACT), "f")
    return value


_EXACT = Context(prec=60)

WITH_A_VIEW = (
    sys.executable,
    "-c",
    """
from salesviews import views
views.VIEWS = (*views.VIEWS, views.View(
    "ventes_par_categorie", views.Source.SALES, (views.CATEGORIE,), views.DAY,
    (views.VENTES_COUNT, views.REVENUE_TOTAL), "sales by product line and day"))
from salesviews.cli import main
main()
""",
)
"""The command line of a program that declares one more view."""


def assert_silver_is(pipeline: Pipeline, witness: Oracle) -> None:
    """Every Silver table is what the witness computes, row for row, to the cent and to the client."""
    for name, expected in witness.tables.items():
        shown, wanted = comparable(silver(pipeline, name)), comparable(expected)
        assert shown == wanted, f"{name}: too many {list(shown - wanted)[:3]}, missing {list(wanted - shown)[:3]}"


def last_values(messages: list[Any]) -> Mapping[bytes, bytes]:
    """What compaction would leave: the last value of each key."""
    return {message.key(): message.value() for message in messages}
