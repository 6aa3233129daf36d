import itertools
import math
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import write_deltalake
from lakes import START, TOPIC_ID, LakeMaker
from pipelines import read_topic

from processors import filling, replay, survey
from processors.outbox import Outbox
from processors.replay import Options
from salesviews import lake, topics, typed, views
from salesviews import settings as settings_module
from salesviews.errors import ReplayError
from salesviews.machine import ports
from salesviews.replay_result import Result
from salesviews.settings import Settings
from salesviews.simulation import generate
from salesviews.tables import delta_log, files
from salesviews.tables.ranges import Ranges
from salesviews.typed import Interval, SourcePartition
from sinks import appends, bronze, mending

SEED = 5
SALES = 1_200
COMMIT_MESSAGES = 250


@dataclass
class Played:
    """A raw topic with sales, and the Bronze that a replay fills from it."""

    settings: Settings
    lake: lake.Lake

    def run(self, **options: Any) -> Result:
        return replay.run(self.settings, Options(**options))

    def messages(self) -> dict[tuple[int, int], Any]:
        """What Kafka holds, as Bronze should have it."""
        return {
            (message.partition(), message.offset()): (
                message.value(),
                message.key(),
                message.headers() or None,
                datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            )
            for message in read_topic(self.settings, self.settings.topic)
        }

    def rows(self) -> dict[tuple[int, int], Any]:
        """What Bronze has, after a look whether it has a position twice."""
        names = ["partition", "offset", "payload", "key", "headers", "kafka_timestamp"]
        table = files.dataset(self.lake, files.listing(self.lake, lake.BRONZE)).to_table(names).to_pylist()
        found = {
            (row["partition"], row["offset"]): (
                row["payload"],
                row["key"],
                row["headers"] and [(header["key"], header["value"]) for header in row["headers"]],
                row["kafka_timestamp"],
            )
            for row in table
        }
        assert len(found) == len(table)
        return found

    def recorded(self) -> dict[int, int]:
        topic_id = topics.topic_id(self.settings, self.settings.topic)
        handle = self.lake.open(lake.BRONZE)
        return {
            partition: handle.transaction_version(
                bronze.stream_name(SourcePartition(topic_id, partition, self.settings.topic))
            )
            or 0
            for partition in range(self.settings.partitions)
        }

    def intervals(self) -> list[tuple[Interval, list[int]]]:
        """What was handed to views: intervals, each with the offsets of its rows."""
        return [
            (
                Interval.decode(dict(message.headers())[typed.HEADER]),
                typed.decode(message.value()).column("offset").to_pylist(),
            )
            for message in read_topic(self.settings, topics.typees(self.settings).name)
        ]

    def version(self) -> int:
        return self.lake.open(lake.BRONZE).version()

    def files(self) -> list[Path]:
        listed = files.listing(self.lake, lake.BRONZE).files
        return sorted(Path(self.lake.uri(lake.BRONZE)) / path for paths in listed.values() for path in paths)


@pytest.fixture
def played(settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Played:
    """Dirty sales in two partitions, which a transaction marker ends, and in an empty one; there is no lake."""
    monkeypatch.setattr(filling, "COMMIT_MESSAGES", COMMIT_MESSAGES)
    used = settings(PARTITIONS=3)
    topics.create(used)
    producer = Producer({**used.kafka_config, "transactional.id": used.topic})
    producer.init_transactions(30)
    made = generate.market.messages(SEED, SALES, START - timedelta(days=3), START, 20, 5, 1)
    pairs = list(itertools.chain.from_iterable(made))
    for number, start in enumerate(range(0, len(pairs), 100)):
        producer.begin_transaction()
        for place, (key, payload) in enumerate(pairs[start : start + 100]):
            headers = [("source", b"test")] if place % 9 == 0 else None
            producer.produce(used.topic, payload, key=key, partition=place % 2, headers=headers)
        producer.flush()
        (producer.abort_transaction if number % 4 == 1 else producer.commit_transaction)(30)
    return Played(used, lake.Lake(used.lake))


def assert_views_get_everything(played: Played) -> None:
    """The typed batches of each partition join on, repeat at most, and hold each message of what they cover."""
    held = played.messages()
    ends: dict[int, int] = {}
    for interval, offsets in played.intervals():
        partition = interval.source.partition
        assert interval.start <= ends.get(partition, 0), "views would find a gap"
        ends[partition] = max(ends.get(partition, 0), interval.end)
        assert set(offsets) == {
            offset for at, offset in held if at == partition and interval.start <= offset < interval.end
        }
    recorded = played.recorded()
    assert {partition: ends.get(partition, 0) for partition in recorded} == recorded


def test_bronze_is_filled_from_nothing(played: Played) -> None:
    """Law: a lake that is gone has every message again, byte for byte; views gets all, and the dead letters are out.

    What Bronze records reaches to the end, also where that is a transaction marker: a group's offset may stand there.
    """
    result = played.run()
    held = played.messages()
    assert played.rows() == held
    assert result.complete
    assert (result.added, result.gone) == (len(held), 0)
    assert [part.held_before for part in result.partitions] == [0, 0, 0]
    assert [part.start + part.added + part.empty for part in result.partitions] == [
        part.end for part in result.partitions
    ]
    assert played.recorded() == {part.partition: part.end for part in result.partitions}
    assert_views_get_everything(played)
    rejected = {
        (int(headers["partition"]), int(headers["offset"]))
        for headers in (
            dict(letter.headers()) for letter in read_topic(played.settings, topics.rejets(played.settings).name)
        )
    }
    assert rejected
    assert rejected <= held.keys()


def test_where_nothing_is_missing_nothing_is_done(played: Played) -> None:
    """Law: a second replay commits nothing and produces nothing."""
    played.run()
    version, produced = played.version(), len(played.intervals())
    result = played.run()
    assert (result.complete, result.added, played.version(), len(played.intervals())) == (True, 0, version, produced)


def test_progress_is_told(played: Played, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Law: every so often a line says how much was read of how much, how fast, and how long the rest will take."""
    monkeypatch.setattr(filling, "PROGRESS_S", 0.0)
    caplog.set_level("INFO", "processors.filling")
    result = played.run()
    total = sum(part.end for part in result.partitions)
    lines = [record.getMessage() for record in caplog.records if record.name == "processors.filling"]
    assert lines[0] == f"{total} positions to read"
    assert all(re.fullmatch(rf"\d+ of {total} positions read, \d+ a second, .+ left", line) for line in lines[1:])
    assert lines[1:]


def damage(played: Played, generator: random.Random) -> int:
    """Delete rows here and there, or files. Gives how many rows are gone."""
    before = len(played.rows())
    kind = generator.randrange(3)
    if kind == 0:
        played.lake.open(lake.BRONZE).delete(f"offset % {generator.randint(2, 9)} = 0 AND partition = 0")
    elif kind == 1:
        start = generator.randrange(300)
        played.lake.open(lake.BRONZE).delete(f"offset >= {start} AND offset < {start + generator.randint(1, 400)}")
    else:
        for file in generator.sample(played.files(), generator.randint(1, 3)):
            file.unlink()
        return before
    return before - len(played.rows())


def test_holes_are_filled_whatever_is_missing(played: Played) -> None:
    """Law: rows and files that are lost below the recorded position come back once, and views is told nothing."""
    played.run()
    held, produced = played.rows(), len(played.intervals())
    generator = random.Random(SEED)
    for _ in range(8):
        gone = damage(played, generator)
        result = played.run()
        assert played.rows() == held, f"seed {SEED}"
        assert result.complete
        assert (result.added > 0) == (gone > 0)
    assert len(played.intervals()) == produced


class Crash(BaseException):
    """The process is killed here."""


STEPS = [
    (lake.Lake, "create"),
    (mending, "forget_gone"),
    (Outbox, "flush"),
    (bronze, "append_once"),
    (mending, "mend"),
]


@contextmanager
def broken(target: Any, name: str, call: int, after: bool, error: type[BaseException]) -> Iterator[None]:
    """A call of a function ends in an error, before or after it did its work."""
    real, calls = getattr(target, name), itertools.count()

    def fail(*arguments: Any, **options: Any) -> Any:
        if next(calls) != call:
            return real(*arguments, **options)
        if after:
            real(*arguments, **options)
        raise error(f"{name}, call {call}, after {after}")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(target, name, fail)
        yield


@pytest.mark.parametrize(("target", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_replay_that_is_killed_can_be_run_again(
    played: Played, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    """Law: killed before or after any step, from nothing and with holes, the next one leaves each message once."""
    held = played.messages()
    outboxes: list[Outbox] = []

    def outbox(settings: Settings) -> Outbox:
        outboxes.append(Outbox(settings))
        return outboxes[-1]

    monkeypatch.setattr(filling, "Outbox", outbox)
    for prepare, call, after in (
        (_delete_lake, 0, False),
        (_delete_lake, 1, True),
        (_delete_some, 0, True),
        (_delete_some, 1, False),
    ):
        prepare(played)
        with broken(target, name, call, after, Crash), suppress(Crash):
            played.run()
        for killed in outboxes:  # with its process a producer ends as well, and what it has not sent
            killed._producer.purge()
            killed._producer.poll(0)
        assert played.run().complete
        assert played.rows() == held
    assert_views_get_everything(played)


def _delete_lake(played: Played) -> None:
    folder = Path(played.settings.lake)
    if folder.exists():
        folder.rename(folder.with_name(f"gone-{len(list(folder.parent.iterdir()))}"))


def _delete_some(played: Played) -> None:
    played.lake.open(lake.BRONZE).delete("offset % 3 = 0")
    played.files()[0].unlink()


@pytest.mark.parametrize("module", [appends, mending])
@pytest.mark.parametrize("landed", [True, False])
def test_a_commit_whose_answer_is_lost_is_not_repeated(played: Played, module: Any, landed: bool) -> None:
    """Law: after an error of a commit, what landed is found, and what did not is done."""
    played.run()
    _delete_lake(played) if module is appends else _delete_some(played)
    with broken(module, "write_deltalake", 1, landed, OSError):
        assert played.run().complete
    assert played.rows() == played.messages()


def test_two_replays_at_once_add_each_message_once(played: Played) -> None:
    """Law: replays side by side, from nothing and with holes, all end well, and Bronze has each message once."""
    held = played.messages()
    for prepare in (_delete_lake, _delete_some):
        prepare(played)
        with ThreadPoolExecutor(3) as pool:
            results = [pool.submit(played.run) for _ in range(3)]
        assert [result.result().complete for result in results] == [True] * 3
        assert played.rows() == held
    assert_views_get_everything(played)


def test_one_that_changes_nothing_gives_up(played: Played) -> None:
    """Law: where no commit goes through, it ends, with what is left and what to look at."""
    played.run()
    _delete_some(played)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mending, "write_deltalake", _refuse)
        with pytest.raises(ReplayError, match=r"still lacks \d+ positions after 5 attempts.*space"):
            played.run()


def _refuse(*_arguments: Any, **_options: Any) -> None:
    raise OSError("no space left on device")


def test_a_file_that_cannot_be_read_is_named_and_dropped_if_asked(played: Played) -> None:
    """Law: without the option nothing is changed; with it the file is kept aside and its messages are read again.

    The option finds what only a reader of the payloads would find.
    """
    played.run()
    held, version = played.rows(), played.version()
    truncated, flipped = played.files()[:2]
    truncated.write_bytes(truncated.read_bytes()[:-30])
    with pytest.raises(ReplayError, match=rf"{truncated.name}.*cannot be read.*salesviews replay --drop-unreadable"):
        played.run()
    assert played.version() == version
    column = pq.ParquetFile(flipped).metadata.row_group(0).column(lake.BRONZE.schema.names.index("payload"))
    content = bytearray(flipped.read_bytes())
    content[column.data_page_offset : column.data_page_offset + 8] = bytes(8)
    flipped.write_bytes(content)
    result = played.run(drop_unreadable=True)
    assert {Path(file).name for file in result.files_unreadable} == {truncated.name, flipped.name}
    assert all(Path(file).exists() for file in result.files_unreadable)
    assert result.complete
    assert played.rows() == held


def test_a_damaged_log_is_refused_by_name(played: Played) -> None:
    """Law: a Bronze whose log cannot be read is not filled; the error names the file, and the status is 2."""
    played.run()
    entry = Path(played.lake.uri(lake.BRONZE)) / delta_log.FOLDER / f"{1:020}.json"
    entry.write_bytes(entry.read_bytes()[:40])
    with pytest.raises(ReplayError, match=f"{entry.name} is damaged or gone") as raised:
        played.run()
    assert raised.value.exit_status == 2


def delete_records(used: Settings, partition: int, before: int) -> None:
    place = TopicPartition(used.topic, partition, before)
    admin = AdminClient(used.kafka_config)
    admin.delete_records([place])[place].result()


def test_what_kafka_holds_no_more_is_named(played: Played) -> None:
    """Law: messages that Bronze lacks and Kafka has deleted are named; all that Kafka has is filled, and views gets the
    loss with what follows it, once.
    """
    delete_records(played.settings, 0, 150)
    held = played.messages()
    result = played.run()
    assert not result.complete
    [part] = [part for part in result.partitions if part.gone]
    assert (part.partition, part.low, part.gone, part.gone_ranges) == (0, 150, 150, ((0, 150),))
    assert played.rows() == held
    assert [interval.lost for interval, _ in played.intervals() if interval.lost] == [150]
    assert_views_get_everything(played)
    again = played.run()
    assert (again.added, again.gone, again.complete) == (0, 150, False)


def test_holes_that_kafka_holds_no_more_are_named(played: Played) -> None:
    """Law: of a hole, what Kafka holds is filled, and the rest is named."""
    played.run()
    played.lake.open(lake.BRONZE).delete("partition = 1 AND offset >= 100 AND offset < 200")
    delete_records(played.settings, 1, 130)
    lacking = {offset for partition, offset in played.messages() if partition == 1 and 130 <= offset < 200}
    result = played.run()
    assert not result.complete
    assert result.added == len(lacking)
    [part] = [part for part in result.partitions if part.gone]
    assert Ranges.of(part.gone_ranges) == Ranges.of(part.gone_ranges).within(0, 130)
    assert part.gone >= 30


def test_what_silver_knows_to_be_empty_is_not_gone(played: Played) -> None:
    """Law: of positions that no topic holds any more, those that Silver counted are gone, and no other.

    The lake is one of a topic that was deleted since.
    """
    maker = LakeMaker(played.lake)
    maker.send(0, [b'{"vente_id": %d}' % number for number in range(20)])
    maker.send(0, [b"{}"] * 10, skipped=5)
    maker.send(1, [b""] * 4)
    maker.checkpoint()
    assert played.run().complete
    played.lake.open(lake.BRONZE).delete(f"topic_id = '{TOPIC_ID}' AND partition = 0 AND offset >= 18")
    result = played.run()
    [part] = [part for part in result.partitions if part.gone]
    assert (part.topic_id, part.partition, part.start, part.end) == (TOPIC_ID, 0, 0, 35)
    assert (part.gone, part.gone_ranges, part.unread, part.empty) == (12, ((18, 20), (25, 35)), 5, 0)
    assert result.perdus == 0


def test_what_was_deleted_unread_stays_a_loss_when_views_has_counted_it(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: positions that Kafka deleted before they were read are gone as long as nobody has counted past them, and
    then `perdu`, of which `qualite` knows how many; the status is the same, and no hole of Bronze is named that a
    backup could fill. A time after them does not ask for them.
    """
    maker = LakeMaker(played.lake)
    maker.send(0, [b"{}"] * 10, skipped=150, lost=146)
    maker.checkpoint()
    with monkeypatch.context() as patched:
        patched.setattr(survey, "_counted", lambda _: {SourcePartition(TOPIC_ID, 0, played.settings.topic): 0})
        before = played.run()
    after = played.run()
    [old] = [part for part in after.partitions if part.topic_id == TOPIC_ID]
    assert [(result.gone, result.perdus, result.complete) for result in (before, after)] == [
        (150, 0, False),
        (0, 146, False),
    ]
    assert (old.gone, old.unread, old.empty, old.held_before) == (0, 150, 0, 10)
    assert played.run(since=START + timedelta(days=3650)).complete


def test_a_quality_that_cannot_be_read_clears_no_loss(played: Played) -> None:
    """Law: where nothing tells which positions were messages, all that were never read are named."""
    maker = LakeMaker(played.lake)
    maker.send(0, [b"{}"] * 10, skipped=7, lost=3)
    maker.checkpoint()
    assert played.run().perdus == 3
    for file in Path(played.lake.uri(lake.of_view(views.QUALITE))).rglob("*.parquet"):
        file.write_bytes(b"PAR1")
    assert played.run().perdus == 7


def test_a_silver_that_cannot_be_read_is_no_obstacle_to_mending(played: Played) -> None:
    """Law: holes are filled without it; where messages must be handed on to views, the error says what to do first."""
    maker = LakeMaker(played.lake)
    maker.send(7, [b"{}"])
    maker.checkpoint()
    played.run()
    held = played.rows()
    for file in Path(played.lake.uri(lake.SNAPSHOTS)).glob("*.parquet"):
        file.write_bytes(b"PAR1")
    played.lake.open(lake.BRONZE).delete("offset % 3 = 0 AND partition < 3")
    assert played.run().complete
    assert played.rows() == held
    Path(played.lake.uri(lake.BRONZE)).rename(Path(played.settings.home) / "moved")
    with pytest.raises(ReplayError, match=r"silver/snapshots.*Restore"):
        played.run()


def test_what_silver_has_counted_is_not_handed_on_again(played: Played) -> None:
    """Law: of a Bronze that is gone, only what the newest snapshot has not counted is handed on."""
    played.run()
    counted = {partition: end // 2 for partition, end in played.recorded().items()}
    before = len(played.intervals())
    topic = played.settings.topic
    topic_id = topics.topic_id(played.settings, topic)
    positions = {SourcePartition(topic_id, partition, topic): end for partition, end in counted.items()}
    _delete_lake(played)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(survey, "_counted", lambda _: positions)
        assert played.run().complete
    assert played.rows() == played.messages()
    again = [interval for interval, _ in played.intervals()[before:]]
    for partition, end in played.recorded().items():
        mine = [interval for interval in again if interval.source.partition == partition]
        assert all(interval.end > counted[partition] for interval in mine)
        assert max((interval.end for interval in mine), default=0) == end
        assert min((interval.start for interval in mine), default=0) <= counted[partition]


def test_what_an_earlier_generation_handed_on_is_handed_on_again(played: Played) -> None:
    """Law: while a rebuild ends, an ingest of the generation before appends to Bronze what it hands on to that
    generation alone. A replay that comes then hands on all that is not counted: views finds no gap. Holes of Bronze
    before the recorded position are filled too, and nothing is there twice.
    """
    played.run()
    before = len(played.intervals())
    recorded = played.recorded()
    topic_id = topics.topic_id(played.settings, played.settings.topic)
    counted = {
        SourcePartition(topic_id, partition, played.settings.topic): end // 2 for partition, end in recorded.items()
    }
    played.lake.open(lake.BRONZE).delete("offset % 7 = 0")
    producer = Producer(played.settings.kafka_config)
    producer.produce(played.settings.topic, b"{}", partition=0)
    producer.flush()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(survey, "_counted", lambda _: counted)
        assert played.run().complete
    assert played.rows() == played.messages()
    again = [interval for interval, _ in played.intervals()[before:]]
    assert [interval.source.partition for interval in again] == [0] * len(again)
    assert min(interval.start for interval in again) <= recorded[0] // 2
    assert max(interval.end for interval in again) == recorded[0] + 1


def test_only_the_time_that_is_asked_for_is_filled(played: Played) -> None:
    """Law: with a time, holes of messages that Kafka received before stay, those after are filled; what comes after
    the recorded position is always filled.
    """
    played.run()
    times = {place: content[3] for place, content in played.messages().items()}
    since = sorted(times.values())[len(times) // 2]
    played.lake.open(lake.BRONZE).delete("offset % 2 = 0")
    played.run(since=since)
    rows = played.rows()
    after = [place for place, time in times.items() if time >= since]
    firsts = {at: min((offset for each, offset in after if each == at), default=math.inf) for at in range(3)}
    for partition, offset in times:
        assert ((partition, offset) in rows) == (offset % 2 == 1 or offset >= firsts[partition])
    _delete_lake(played)
    played.run(since=since)
    assert played.rows() == played.messages()


def test_a_copy_of_bronze_is_not_filled_twice(played: Played, tmp_path: Path) -> None:
    """Law: a table with the rows and without the recorded positions gains the positions, and no row."""
    played.run()
    held = played.rows()
    listed = files.listing(played.lake, lake.BRONZE)
    rows = files.rows(played.lake, listed, listed.files)
    Path(played.lake.uri(lake.BRONZE)).rename(tmp_path / "moved")
    played.lake.create(lake.BRONZE)
    write_deltalake(played.lake.open(lake.BRONZE), rows.slice(100), mode="append")
    result = played.run()
    assert (result.complete, result.added) == (True, 100)
    assert played.rows() == held
    assert played.recorded() == {part.partition: part.end for part in result.partitions}


def test_a_bronze_that_is_replaced_meanwhile_is_filled_too(played: Played) -> None:
    """Law: where the table is deleted and created again between two commits, it is looked at anew."""
    real, calls = mending.mend, itertools.count()
    played.run()
    _delete_some(played)

    def replace_then_mend(*arguments: Any) -> Any:
        if next(calls) == 1:
            _delete_lake(played)
            played.lake.create(lake.BRONZE)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mending, "mend", replace_then_mend)
        assert played.run().complete
    assert played.rows() == played.messages()


def test_a_topic_that_is_created_again_meanwhile_ends_it(played: Played) -> None:
    """Law: messages that may be of another topic are not added."""
    asked = iter([topics.topic_id(played.settings, played.settings.topic)] * 3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(topics, "topic_id", lambda *_, **__: next(asked, "another"))
        with pytest.raises(ReplayError, match=f"{played.settings.topic} was deleted and created again"):
            played.run()
    assert (played.rows(), played.intervals()) == ({}, [])


def test_a_topic_that_does_not_exist_is_told(settings: Callable[..., Settings]) -> None:
    """Law: the error names the topic, and no topic is created."""
    used = settings()
    with pytest.raises(ReplayError, match=used.topic):
        replay.run(used, Options())
    admin = AdminClient(used.kafka_config)
    assert used.topic not in admin.list_topics(timeout=30).topics


def test_a_kafka_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the error names its address."""
    monkeypatch.setattr(replay, "KAFKA_S", 0.5)
    address = f"127.0.0.1:{ports.free()}"
    used = settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_BROKER": address})
    with pytest.raises(ReplayError, match=address):
        replay.run(used, Options())
