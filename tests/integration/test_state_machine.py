"""Ingest, views and commands in any order of reading, committing, dying, waking up and starting again, against a plain
model.

    pytest tests/integration/test_state_machine.py --examples 500

A rule is one thing that happens to the pipeline. To add one (another command, another kind of trouble), write what it
does to ``self.world`` or the processes, and set ``is_changed``; what must hold then is checked by itself.
"""

import contextlib
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from checkpoints import Published
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lakes import DEDUP_DAYS, START
from oracle import FIELDS, Message, Oracle, hour_of
from pipelines import comparable
from stages import Death, Ingest, KilledError, Record, RecordTopics, Views, World

from processors import announcement, rebuild
from salesviews import audit, lake, maintenance, manifest, topics, typed
from salesviews.audit import audit_result
from salesviews.errors import FencedError, RebuildError, SalesviewsError
from salesviews.lake import Lake
from salesviews.maintenance import maintenance_result
from salesviews.maintenance.retention import Retention
from salesviews.tables import files
from salesviews.typed import Interval, SourcePartition
from salesviews.views import Kept, kept
from sinks.appends import covered, writer_properties
from sinks.bronze import BronzeSink, stream_name
from sinks.silver import SilverSink
from web.snapshot import SnapshotStore, short_name

STEPS = 16
PARTITIONS = 3
TABLES = {table.name: table for table in (lake.BRONZE, *lake.SILVER, lake.SNAPSHOTS)}
GROWING = (lake.BRONZE.name, lake.CLEAN.name, lake.REJECTED.name)

# ---- What happens ---------------------------------------------------------------------------------------------------


def sale(vente_id: int, **fields: Any) -> bytes:
    ordinary = {"client_id": 1, "timestamp": "2026-02-27T11:30:00", "quantite": 2, "montant": 10.5, "pays": "France"}
    return json.dumps({"vente_id": vente_id} | ordinary | fields).encode()


SALES = st.builds(
    sale,
    st.integers(1, 30),
    client_id=st.integers(1, 3),
    produit_nom=st.sampled_from([None, "inconnu", "Café"]),
    pays=st.sampled_from([None, "France"]),
    timestamp=st.sampled_from(["2026-01-31T23:59:59.999999", "2026-02-01T00:30:00+01:00", "2026-02-27T12:00:00Z"]),
    montant=st.sampled_from([0, 1.005, 9999999999999999]),
)
GARBAGE = st.sampled_from(
    [None, b"", b"{", b"\xff", sale(1, client_id=None), sale(2, montant=-1), sale(3, timestamp="2030-01-01T00:00:00")]
)
PAYLOADS = st.lists(st.one_of(SALES, SALES, SALES, GARBAGE), min_size=1, max_size=8)


@dataclass(frozen=True)
class Production:
    """Messages of a partition.

    :param skipped: positions before them that hold none, as the marker of a transaction
    :param minutes: Kafka's time that went by before
    """

    partition: int
    payloads: list[bytes | None]
    skipped: int
    minutes: int


PRODUCTIONS = st.builds(
    Production,
    st.integers(0, PARTITIONS - 1),
    PAYLOADS,
    st.sampled_from([0, 0, 2]),
    st.sampled_from([0, 40, 60 * 24]),
)


class End(StrEnum):
    """What a process does after its polls."""

    GOES_ON = "goes on"
    COMMITS = "commits"
    DIES = "dies"
    SLEEPS = "sleeps while another one takes over"


@dataclass(frozen=True)
class Failure:
    """A checkpoint in which a commit goes wrong, after so many that go well."""

    commits: int
    death: Death


def ends(commits: int) -> st.SearchStrategy[End | Failure]:
    """:param commits: how many there are in a checkpoint at most"""
    failures = st.builds(Failure, st.integers(0, commits), st.sampled_from(Death))
    return st.one_of(st.just(End.COMMITS), st.sampled_from(End), failures)


@dataclass(frozen=True)
class IngestRun:
    """Polls of so many messages a partition, and then the end.

    :param typed_bytes: how large a typed batch may be
    :param is_sent: typed batches reach Kafka at once, and not only with the checkpoint
    """

    limits: dict[int, int]
    typed_bytes: int
    is_sent: bool
    end: End | Failure


@dataclass(frozen=True)
class ViewsRun:
    """Polls of so many typed batches, and then the end."""

    limits: list[int]
    end: End | Failure


INGEST_RUNS = st.builds(
    IngestRun,
    st.fixed_dictionaries(dict.fromkeys(range(PARTITIONS), st.sampled_from([8, 3, 0]))),
    st.sampled_from([1_000_000, 500, 1]),
    st.booleans(),
    ends(3),
)
VIEWS_RUNS = st.builds(ViewsRun, st.lists(st.integers(1, 4), max_size=3), ends(16))
RUN = {"productions": st.lists(PRODUCTIONS, max_size=3), "ingest": INGEST_RUNS, "views": VIEWS_RUNS}


PLACE = ("topic_id", "partition", "offset")
REBUILD_FAILURES = st.builds(Failure, st.integers(0, 12), st.sampled_from(Death))


@dataclass(frozen=True)
class Base:
    """What a generation of the figures begins with.

    :param messages: in the total order
    :param lost: how many messages Kafka had deleted before they were read, by hour
    """

    messages: list[Message] = field(default_factory=list)
    lost: Counter[datetime] = field(default_factory=Counter)
    positions: dict[SourcePartition, int] = field(default_factory=dict)


@cache
def empty_lake() -> tempfile.TemporaryDirectory[str]:
    """A lake as the first processes make it, to be copied: making it takes as long as several snapshots."""
    folder = tempfile.TemporaryDirectory(prefix="salesviews-empty-")
    target = Lake(folder.name)
    for sink in (BronzeSink(target, lambda: None), SilverSink(target, lambda: START, 0, DEDUP_DAYS, Published(), 1)):
        sink.start()
    return folder


class Machine(RuleBasedStateMachine):
    """The pipeline, and what the model needs: every message that was ever produced."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="salesviews-states-"))
        self.world = World(self.home)
        self.kafka = self.world.kafka
        shutil.copytree(empty_lake().name, self.world.lake.root)
        self.store = SnapshotStore(self.world.lake, lambda: START)
        self.context = contextlib.ExitStack()
        self.context.enter_context(self.world.entered())
        self.context.callback(shutil.rmtree, self.home)
        self.context.callback(self.store.close)
        self.now = START
        self.produced: dict[tuple[str, int], dict[int, Record]] = defaultdict(dict)
        self.expired: set[tuple[str, int, int]] = set()
        self.sleeping: list[Ingest | Views] = []
        self.was_woken = False
        self.seen = (0, (0, manifest.EMPTY_SEQUENCE))
        self.base = Base()
        self.is_changed = True

    @initialize()
    def start(self) -> None:
        self.of = self.world.served
        self.start_ingest()
        self.start_views()

    def start_ingest(self) -> None:
        self.ingest = Ingest(self.world)

    def start_views(self) -> None:
        self.views = Views(self.world)
        self.was_woken = False

    # ---- Producers and the two stages ----

    def run(self, productions: list[Production], ingest: IngestRun, views: ViewsRun) -> None:
        """Messages arrive, ingest polls, views polls; each process then commits, fails, dies or goes on."""
        for production in productions:
            self.produce(production)
        self.ingest.read(ingest.limits, ingest.typed_bytes, ingest.is_sent)
        self.end(self.ingest, ingest.end, self.start_ingest)
        for limit in views.limits:
            self.views.take(limit)
        self.end(self.views, views.end, self.start_views)

    # Under several names, it is chosen as often as all other rules together.
    run_1, run_2, run_3, run_4, run_5 = (rule(**RUN)(each) for each in [run] * 5)

    def produce(self, production: Production) -> None:
        if self.now - START < timedelta(days=DEDUP_DAYS - 1):
            self.now += timedelta(minutes=production.minutes)
        partition = production.partition
        for record in self.kafka.produce(partition, production.payloads, self.now, production.skipped):
            self.produced[self.kafka.topic_id, partition][record.number] = record

    def end(self, process: Ingest | Views, end: End | Failure, start_another: Callable[[], None]) -> None:
        if end is End.GOES_ON:
            return
        if end is End.SLEEPS:
            self.sleeping.append(process)
        if end in (End.SLEEPS, End.DIES):
            start_another()
            return
        if isinstance(end, Failure):
            self.world.fuse.set(end.commits, end.death)
        try:
            process.checkpoint()
        except (KilledError, OSError):
            start_another()
        except FencedError:
            assert self.was_woken, "a process was fenced, though no other one wrote"
            start_another()
        finally:
            self.world.fuse.clear()
            self.is_changed = True

    @precondition(lambda self: self.sleeping)
    @rule()
    def wake(self) -> None:
        """A process goes on that a successor has replaced: it may end with an error, and must do no harm."""
        with contextlib.suppress(SalesviewsError):
            self.sleeping.pop(0).checkpoint()
        self.was_woken = self.is_changed = True

    # ---- Kafka and operators ----

    @property
    def is_all_archived(self) -> bool:
        """What was read is in Bronze and in the typed batches.

        What Kafka deletes while only one of them has it, the other one never gets: the audit names it, and a rebuild
        mends it.
        """
        ends = dict(self.base.positions)
        for batch in filter(is_typed, self.of.typees):
            interval = interval_of(batch)
            ends[interval.source] = max(ends.get(interval.source, 0), interval.end)
        return (
            not any(isinstance(process, Ingest) for process in self.sleeping)
            and not self.ingest.has_read
            and all(
                self.archived_end(source) == ends.get(source, 0)
                for source in (SourcePartition(*place, "ventes") for place in self.produced)
            )
        )

    def archived_end(self, source: SourcePartition) -> int:
        return covered(self.world.lake, lake.BRONZE, stream_name(source)) or 0

    @precondition(lambda self: self.kafka.raw and self.is_all_archived)
    @rule(share=st.sampled_from([0.5, 1]))
    def expire(self, share: float) -> None:
        """Kafka deletes the older messages of each partition, read or not."""
        for partition, raw in self.kafka.raw.items():
            raw.low += int((raw.end - raw.low) * share)
            self.expired |= {
                (self.kafka.topic_id, partition, record.number) for record in raw.records if record.number < raw.low
            }

    @precondition(lambda self: self.kafka.topics < 3 and self.of.typees and self.is_all_archived)
    @rule()
    def create_topic_again(self) -> None:
        self.kafka.topics += 1
        self.kafka.raw.clear()
        self.of.ingest_offsets.clear()
        self.start_ingest()

    @precondition(lambda self: self.of.ingest_offsets)
    @rule()
    def lose_offsets(self) -> None:
        """The ingest group's offsets are gone, or somebody rewinds it: everything is read again."""
        self.of.ingest_offsets.clear()
        self.start_ingest()

    @precondition(lambda self: self.of.typees and not self.expired and self.kafka.topics == 1)
    @rule()
    def replay_without_bronze(self) -> None:
        shutil.rmtree(self.world.lake.uri(lake.BRONZE))
        self.of.ingest_offsets.clear()
        self.start_ingest()

    @precondition(lambda self: self.of.views_offset)
    @rule(name=st.sampled_from(GROWING))
    def compact(self, name: str) -> None:
        self.world.lake.open(TABLES[name]).optimize.compact()
        self.is_changed = True

    @precondition(lambda self: self.of.views_offset)
    @rule(name=st.sampled_from(sorted(TABLES)))
    def write_log_checkpoint(self, name: str) -> None:
        self.world.lake.open(TABLES[name]).create_checkpoint()
        self.is_changed = True

    @precondition(lambda self: self.of.views_offset)
    @rule()
    def maintain(self) -> None:
        """`salesviews maintain`, as if all but the newest snapshot were too old to keep."""
        retention = Retention(days=0, step_s=0, recent_s=0)
        options = maintenance.Options(retention, grace_s=0, small_files=2)
        result = maintenance.run(self.world.lake, options, writer_properties)
        assert result.is_done, maintenance_result.text(result)
        self.is_changed = True

    @property
    def bronze_covers_figures(self) -> bool:
        found = manifest.read(self.world.lake)
        return found is not None and all(self.archived_end(source) >= end for source, end in found.positions.items())

    @precondition(lambda self: self.of.views_offset and self.bronze_covers_figures)
    @rule(failure=st.one_of(st.none(), REBUILD_FAILURES), is_given_up=st.booleans(), sleeps=st.booleans())
    def rebuild(self, failure: Failure | None, is_given_up: bool, sleeps: bool) -> None:
        """`salesviews rebuild`. Where it dies, it is run again, or given up; what ran before dies, or sleeps on."""
        self.is_changed = True
        before = manifest.read(self.world.lake)
        assert before is not None
        order, lost, _ = self.total_order((before.sequence + 1) >> typed.ROW_BITS)
        if failure is not None and not self.is_rebuilt(failure):
            if is_given_up and self.is_abandoned(before.generation):
                self.start_views()
                return
            failure = None
        if failure is None:
            assert self.is_rebuilt(None)
        if sleeps:
            self.sleeping += [self.ingest, self.views]
        self.of = self.world.served
        self.base = self.rebuilt(order, lost)
        self.start_ingest()
        self.start_views()

    def is_rebuilt(self, failure: Failure | None) -> bool:
        if failure is not None:
            self.world.fuse.set(failure.commits, failure.death)
        options = rebuild.Options(memory_mb=256, wait_s=0)
        try:
            rebuild.run(self.world.settings, options, lambda: START, lambda _: RecordTopics(self.kafka))
        except (KilledError, RebuildError):
            assert failure is not None
            return False
        finally:
            self.world.fuse.clear()
        return True

    def is_abandoned(self, generation: int) -> bool:
        """Whether the generation goes on: a rebuild that fails withdraws by itself, where it has not come too far."""
        try:
            announcement.abandon(self.world.lake, lambda: START)
        except RebuildError:
            found = manifest.read(self.world.lake)
            return found is not None and (found.generation, found.successor) == (generation, None)
        return True

    def rebuilt(self, order: list[Message], lost: Counter[datetime]) -> "Base":
        """What a new generation begins with: each message of Bronze once, in the order of before, then the others."""
        found = manifest.read(self.world.lake)
        assert found is not None
        rows = []
        for table in (lake.CLEAN, lake.REJECTED):
            listing = files.listing(self.world.lake, table, found.tables[table.name])
            rows += files.dataset(self.world.lake, listing).to_table(["sequence", *PLACE]).to_pylist()
        places = [tuple(row[name] for name in PLACE) for row in sorted(rows, key=lambda row: row["sequence"])]
        assert places[: len(order)] == [(each.topic_id, each.partition, each.offset) for each in order]
        listing = files.listing(self.world.lake, lake.BRONZE)
        archived = files.dataset(self.world.lake, listing).to_table(list(PLACE)).to_pylist()
        ends = {(source.topic_id, source.partition): end for source, end in found.positions.items()}
        covered = [tuple(row.values()) for row in archived if row["offset"] < ends[row["topic_id"], row["partition"]]]
        assert Counter(places) == Counter(covered)
        messages = [
            Message(partition, offset, record.sent_at, record.payload, topic_id)
            for topic_id, partition, offset in places
            for record in [self.produced[topic_id, partition][offset]]
        ]
        return Base(messages, lost, found.positions)

    # ---- What holds ----

    @invariant()
    def everything_is_exact(self) -> None:
        if self.is_changed:
            self.is_changed = False
            self.check_bronze()
            self.check_silver()

    def check_bronze(self) -> None:
        """Each message once, byte for byte, and all of them up to the recorded positions."""
        listing = files.listing(self.world.lake, lake.BRONZE)
        columns = ["topic_id", "partition", "offset", "payload"]
        rows = files.dataset(self.world.lake, listing).to_table(columns).to_pylist()
        held = {(row["topic_id"], row["partition"], row["offset"]): row["payload"] for row in rows}
        assert len(held) == len(rows)
        for (topic_id, partition), records in self.produced.items():
            end = self.archived_end(SourcePartition(topic_id, partition, "ventes"))
            for offset, record in records.items():
                place = topic_id, partition, offset
                if place in held:
                    assert offset < end
                    assert held.pop(place) == record.payload
                else:
                    assert offset >= end or place in self.expired
        assert not held

    def check_silver(self) -> None:
        """The newest snapshot is the witness's, at the place in the total order that it names; none goes back."""
        found = manifest.read(self.world.lake)
        assert found is not None
        assert self.seen[0] <= found.id
        assert self.seen[1] <= (found.generation, found.sequence)
        self.seen = found.id, (found.generation, found.sequence)
        messages, lost, positions = self.total_order((found.sequence + 1) >> typed.ROW_BITS)
        assert found.positions == positions
        witness = Oracle(messages).tables
        witness["qualite"] += [lost_row(heure, count) for heure, count in lost.items()]
        for table in (lake.CLEAN, lake.REJECTED):
            listing = files.listing(self.world.lake, table, found.tables[table.name])
            rows = files.rows(self.world.lake, listing, listing.files).to_pylist()
            check(table.name, [row for row in rows if row["sequence"] <= found.sequence], witness)
        self.store.refresh()
        with self.store.read() as snapshot:
            assert snapshot.manifest == found
            for table in lake.OVERWRITTEN:
                served = snapshot._cursor.sql(f'FROM "{short_name(table)}"').to_arrow_table()
                check(table.name, served.to_pylist(), witness)

    def check_published(self) -> None:
        """The last values of the ``vues-`` topics are the rows of the newest snapshot."""
        published: dict[str, list[Any]] = defaultdict(list)
        for (topic, key), value in self.of.published.items():
            row = orjson.loads(value)
            assert orjson.loads(key).items() <= row.items()
            published[topic].append(row)
        found = manifest.read(self.world.lake)
        assert found is not None
        for view in kept(Kept.IN_WINDOWS):
            table = lake.of_view(view)
            rows = files.rows(
                self.world.lake, listed := found.listing(self.world.lake, table), listed.files
            ).to_pylist()
            told = [{name: as_told(row[name]) for name in row.keys() - set(table.partition_by)} for row in rows]
            assert sorted(map(_sorted, published[topics.vues(self.world.settings, view).name])) == sorted(
                map(_sorted, told)
            )

    def total_order(self, batches: int) -> tuple[list[Message], Counter[datetime], dict[SourcePartition, int]]:
        """The messages of so many typed batches, each once, after those that a rebuild began with; how many were lost,
        by hour; the positions.
        """
        ends = dict(self.base.positions)
        messages = list(self.base.messages)
        lost = Counter(self.base.lost)
        for batch in filter(is_typed, self.of.typees[:batches]):
            interval = interval_of(batch)
            source, end = interval.source, ends.get(interval.source, 0)
            assert interval.start <= end, "a gap"
            first = interval.start + interval.lost
            new = [
                record
                for offset, record in self.produced[source.topic_id, source.partition].items()
                if max(end, first) <= offset < interval.end
            ]
            if first > end:
                lost[hour_of(new[0].sent_at)] += first - end
            messages += [
                Message(source.partition, record.number, record.sent_at, record.payload, source.topic_id)
                for record in new
            ]
            ends[source] = max(end, interval.end)
        return messages, lost, ends

    def teardown(self) -> None:
        """In the end everything is read, counted and audited, unless a step failed before."""
        with self.context:
            if sys.exc_info()[0] is None:
                self.finish()

    def finish(self) -> None:
        while self.sleeping:
            self.wake()
        self.start_ingest()
        while self.ingest.read(dict.fromkeys(range(PARTITIONS), 100), 1_000_000, True):
            pass
        self.ingest.checkpoint()
        self.start_views()
        while self.views.take(100):
            pass
        self.views.checkpoint()
        self.is_changed = True
        self.everything_is_exact()
        self.check_published()
        for partition, raw in self.kafka.raw.items():
            if left := raw.from_offset(0, 1_000_000):
                assert self.seen_position(partition) > left[-1].number
        result = audit.run(self.world.lake, audit.Options(DEDUP_DAYS, wait_s=0), stream_name)
        assert result.holds, audit_result.text(result)

    def seen_position(self, partition: int) -> int:
        found = manifest.read(self.world.lake)
        assert found is not None
        return found.positions[SourcePartition(self.kafka.topic_id, partition, "ventes")]


def _sorted(row: dict[str, Any]) -> str:
    return str(sorted(row.items()))


def as_told(value: Any) -> Any:
    """A value of a table as the JSON of a ``vues-`` topic has it, and as it is read: numbers become floats there."""
    match value:
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()
        case Decimal():
            return orjson.loads(str(value))
        case _:
            return value


def is_typed(record: Record) -> bool:
    """Whether it is a typed batch, and no seed."""
    return typed.HEADER in dict(record.header)


def interval_of(batch: Record) -> Interval:
    return Interval.decode(dict(batch.header)[typed.HEADER])


def check(name: str, rows: list[dict[str, Any]], witness: dict[str, list[dict[str, Any]]]) -> None:
    """A table's rows are the witness's, and those that have a place in the total order are in its order."""
    expected = witness[name.rpartition("/")[2]]
    found, wanted = comparable(rows), comparable(expected)
    assert found == wanted, f"{name}: too many {list(found - wanted)[:3]}, missing {list(wanted - found)[:3]}"
    if rows and "sequence" in rows[0]:
        ordered = sorted(rows, key=lambda row: row["sequence"])
        places = [[(row["topic_id"], row["partition"], row["offset"]) for row in each] for each in (ordered, expected)]
        assert places[0] == places[1]


def lost_row(heure: datetime, count: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("montants_arrondis", *(f"nuls_{name}" for name in FIELDS)), 0)
    return {"motif": "perdu", "heure": heure, "messages": count, "annee": heure.year, "mois": heure.month} | zeros


def test_every_figure_is_exact_whatever_happens_in_whatever_order(pytestconfig: pytest.Config) -> None:
    """Law: after any commit, Bronze has each message once, and Silver is what a plain dict makes of the total order."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=pytestconfig.getoption("examples"),
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
