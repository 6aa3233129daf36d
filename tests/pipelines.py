"""A whole pipeline as tests drive it, and what it must show: the raw messages, read back, through the witness."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from operator import itemgetter
from typing import Any

import polars
import psutil
import pytest
import requests
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from oracle import Message, Oracle
from programs import PATIENCE_S

from salesviews import lake, manifest, topics, views
from salesviews.manifest import Manifest
from salesviews.settings import Settings
from salesviews.simulation import market

Row = dict[str, Any]


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """Every message that a topic holds, by a plain consumer: partition by partition, each to its end."""
    options = {"group.id": "witness", "enable.auto.commit": False, "enable.partition.eof": True}
    options |= {"fetch.wait.max.ms": 10}  # else Kafka tells of the end after half a second
    consumer = Consumer(settings.kafka_config | options)
    messages = []
    for partition in sorted(consumer.list_topics(topic, 30).topics[topic].partitions):
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
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


def topic_ends(settings: Settings, topic: str) -> dict[int, int]:
    """The end of each partition of a topic."""
    admin = AdminClient(settings.kafka_config)
    partitions = admin.list_topics(topic, 30).topics[topic].partitions
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
    return {place.partition: answer.result().offset for place, answer in admin.list_offsets(asked).items()}


class Pipeline:
    """Processes of one instance: ``ingest-1``, ``views-1``, ``web``…, started, killed and started again by name."""

    def __init__(self, settings: Settings, start_process: Callable[..., Any]) -> None:
        self.settings = settings
        self.lake = lake.Lake.of(settings)
        self.start_process = start_process
        self.programs: dict[str, Any] = {}

    def start(self, name: str, settings: Settings | None = None, command: Sequence[str] = ()) -> None:
        """
        :param settings: of a process that runs elsewhere; default: the pipeline's own
        :param command: what stands for ``python -m salesviews``; default: that
        """
        process = name.partition("-")[0]
        self.programs[name] = self.start_process(
            process,
            settings=replace(settings or self.settings, instance=name),
            command=[*command, process] if command else None,
        )

    def kill_and_restart(self, name: str) -> None:
        """SIGKILL, then a new process of the same name, as the supervisor does."""
        self.programs[name].kill()
        self.start(name)

    def manifest(self) -> Manifest | None:
        return manifest.read(self.lake) if self.lake.exists(lake.SNAPSHOTS) else None

    def produced(self) -> int:
        """How many messages the raw topic has, by its ends."""
        consumer = Consumer(self.settings.kafka_config | {"group.id": "witness"})
        topic = self.settings.topic
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), 30)[1] for number in partitions]
        consumer.close()
        return sum(ends)

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
            if program.popen.poll() is not None and not may_restart:
                pytest.fail(f"{name} ended:\n{program.output[-4000:]}")
        found = self.manifest()
        return found is not None and sum(found.positions.values()) >= produced

    def start_supervised(self) -> None:
        """Everything but the broker, kept running by the supervisor, as the program ``up``."""
        self.programs["up"] = self.start_process("up", settings=self.settings)

    @contextmanager
    def stopped(self, command: str) -> Iterator[None]:
        """A supervised process does not run (SIGSTOP): it comes back to a world that has changed."""
        supervisor = psutil.Process(self.programs["up"].pid)
        [found] = [child for child in supervisor.children() if child.cmdline()[-1] == command]
        found.suspend()
        try:
            yield
        finally:
            found.resume()

    def has_counted_all(self) -> bool:
        """Whether the newest snapshot covers every message of the raw topic (a transaction marker may follow it)."""
        topic_id, ends = topics.topic_id(self.settings, self.settings.topic), self.ends(self.settings.topic)
        found = self.manifest() if self.has_counted(0) else None
        covered = {} if found is None else {(each.topic_id, each.partition): at for each, at in found.positions.items()}
        return all(covered.get((topic_id, partition), 0) >= end - 1 for partition, end in ends.items())

    def ends(self, topic: str) -> dict[int, int]:
        return topic_ends(self.settings, topic)

    def run(self, *arguments: str) -> Any:
        """The result of a command that takes ``--json``; it must end with status 0."""
        program = self.start_process(*arguments, "--json", settings=self.settings)
        assert program.wait() == 0, program.output
        return json.loads(program.output[program.output.index("{\n") :])

    def get(self, path: str, parse_float: Callable[[str], Any] = float) -> Any:
        answer = requests.get(f"http://{self.settings.host}:{self.settings.port}{path}", timeout=PATIENCE_S)
        answer.raise_for_status()
        return json.loads(answer.content, parse_float=parse_float)


class Sales:
    """Dirty sales, in transactions of which every fifth is aborted and sent again; they go on inside of a ``with``."""

    INTERVAL_S = 0.1
    BATCH = 30

    def __init__(self, settings: Settings, first_id: int) -> None:
        self._topic = settings.topic
        self._producer = Producer({**settings.kafka_config, "transactional.id": f"{settings.topic}-sales-{first_id}"})
        self._producer.init_transactions(30)
        self.first_id = first_id
        self._next_id = first_id
        self.sent = 0
        self._transactions = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def send(self, count: int) -> None:
        end = datetime.now(UTC)
        made = market.messages(self._next_id, count, end - timedelta(days=3), end, 15, 5, self._next_id)
        pairs = [pair for batch in made for pair in batch]
        self._next_id += count
        self._transactions += 1
        if self._transactions % 5 == 0:
            self._transaction(pairs)
            self._producer.abort_transaction(30)
        self._transaction(pairs)
        self._producer.commit_transaction(30)
        self.sent += count

    def _transaction(self, pairs: list[Any]) -> None:
        self._producer.begin_transaction()
        for key, payload in pairs:
            self._producer.produce(self._topic, payload, key=key)
        self._producer.flush()

    def _go_on(self) -> None:
        while not self._stop.wait(self.INTERVAL_S):
            self.send(self.BATCH)

    def __enter__(self) -> "Sales":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def silver(pipeline: Pipeline, name: str) -> list[Row]:
    """A Silver table as polars reads it, at the newest manifest's version."""
    found = pipeline.manifest()
    assert found is not None
    table = f"silver/{name}"
    rows = polars.read_delta(
        f"{pipeline.settings.lake}/{table}", version=found.tables[table], **_options(pipeline)
    ).to_dicts()
    return [row for row in rows if row.get("sequence", 0) <= found.sequence]


def bronze(pipeline: Pipeline) -> list[Row]:
    """Bronze as polars reads it."""
    return polars.read_delta(f"{pipeline.settings.lake}/bronze/ventes_stream", **_options(pipeline)).to_dicts()


def _options(pipeline: Pipeline) -> dict[str, Any]:
    return {"storage_options": pipeline.settings.lake_options} if pipeline.settings.lake_options else {}


def raw_messages(settings: Settings) -> list[Message]:
    """The messages that the raw topic holds, as the witness takes them."""
    topic_id = topics.topic_id(settings, settings.topic)
    return [
        Message(
            message.partition(),
            message.offset(),
            datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            message.value(),
            topic_id,
        )
        for message in read_topic(settings, settings.topic)
    ]


def in_total_order(pipeline: Pipeline, earlier: Sequence[Message] = ()) -> list[Message]:
    """The raw messages of Kafka, in the order in which Silver says that they were counted.

    The order is Silver's to choose between partitions; that it has each message once, and each partition's in its
    order, is checked here.

    :param earlier: messages that Kafka does not hold any more
    """
    raw = {
        (message.topic_id, message.partition, message.offset): message
        for message in [*earlier, *raw_messages(pipeline.settings)]
    }
    judged = [*silver(pipeline, "ventes_clean"), *silver(pipeline, "ventes_rejetees")]
    order = [(row["topic_id"], row["partition"], row["offset"]) for row in sorted(judged, key=itemgetter("sequence"))]
    assert Counter(order) == Counter(raw.keys())
    for source in {place[:2] for place in order}:
        offsets = [place[2] for place in order if place[:2] == source]
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
    (views.VENTES_COUNT, views.REVENUE_TOTAL, views.PREMIERE_VENTE), "sales by product line and day"), views.View(
    "clients_par_jour", views.Source.SALES, (views.CLIENT,), views.DAY,
    (views.VENTES_COUNT, views.DERNIERE_VENTE), "sales by customer and day", kept=views.Kept.IN_SILVER))
from salesviews.cli import main
main()
""",
)
"""The command line of a program that declares one more view of each kind."""


def assert_silver_is(pipeline: Pipeline, witness: Oracle) -> None:
    """Every Silver table is what the witness computes, row for row, to the cent and to the client."""
    for name, expected in witness.tables.items():
        shown, wanted = comparable(silver(pipeline, name)), comparable(expected)
        assert shown == wanted, f"{name}: too many {list(shown - wanted)[:3]}, missing {list(wanted - shown)[:3]}"


def assert_bronze_is(pipeline: Pipeline, witness: Oracle) -> None:
    """Every message is in Bronze once, byte for byte, with its typed fields and its day."""
    rows = bronze(pipeline)
    held = {(row["partition"], row["offset"]): row for row in rows}
    assert len(rows) == len(held) == len(witness.outcomes)
    for message, outcome, _ in witness.outcomes:
        row = held[message.partition, message.offset]
        assert row["payload"] == message.payload
        assert row["kafka_timestamp"] == message.kafka_timestamp
        assert row["topic_id"] == message.topic_id
        assert row["jour"] == outcome.jour
        assert {name: row[name] for name in outcome.fields} == outcome.fields


def assert_topics_are(pipeline: Pipeline, witness: Oracle) -> None:
    """The last value of each key of a ``vues-`` topic is the table's row; the dead letters are the rejected bytes."""
    values = last_values(read_topic(pipeline.settings, topics.vues(pipeline.settings, views.HOURLY_SALES).name))
    published = [json.loads(value, parse_float=Decimal) for value in values.values()]
    assert {row["heure"]: (row["ventes_count"], cents(row["revenue_total"])) for row in published} == {
        f"{row['heure']:%Y-%m-%dT%H:%M:%SZ}": (row["ventes_count"], cents(row["revenue_total"]))
        for row in witness.hourly_sales
    }
    letters = {}
    for letter in read_topic(pipeline.settings, f"{pipeline.settings.topic}-rejets"):
        headers = {name: value.decode() for name, value in letter.headers()}
        assert letter.key().decode() == f"{headers['topic_id']}/{headers['partition']}/{headers['offset']}"
        payload = None if headers.get("tombstone") else letter.value()
        letters[int(headers["partition"]), int(headers["offset"])] = (headers["motif"], payload or payload)
    assert letters == {
        (message.partition, message.offset): (outcome.motif, message.payload)
        for message, outcome, _ in witness.outcomes
        if outcome.motif
    }


def assert_audit_holds(pipeline: Pipeline) -> None:
    """`salesviews audit` agrees; it may run beside a live pipeline."""
    audit = pipeline.start_process("audit", "--json", settings=pipeline.settings)
    assert audit.wait() == 0, audit.output


def assert_everything_is_exact(pipeline: Pipeline) -> None:
    """Every table and topic is what the witness says of the raw messages, and the audit agrees."""
    witness = Oracle(in_total_order(pipeline))
    assert_silver_is(pipeline, witness)
    assert_bronze_is(pipeline, witness)
    assert_topics_are(pipeline, witness)
    assert_audit_holds(pipeline)


def cents(amount: Any) -> int:
    return int(Decimal(str(amount)) * 100)


def last_values(messages: list[Any]) -> Mapping[bytes, bytes]:
    """What compaction would leave: the last value of each key."""
    return {message.key(): message.value() for message in messages}
