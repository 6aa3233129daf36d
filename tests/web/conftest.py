"""A small lake of real Delta tables, written from Python rows, and the application over it.

It is written as the views process writes Silver (overwritten partitions, then the manifest); Kafka is what a test says.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import witnessed
from deltalake import CommitProperties, write_deltalake
from flask import Flask
from flask.testing import FlaskClient
from oracle import Oracle

from salesviews import lake, views
from salesviews.audit import audit_result
from salesviews.lake import Lake, Table
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.manifest import DataFile, Manifest
from salesviews.typed import SourcePartition
from sinks.overwrites import named_files
from web import create_app
from web.access import Access
from web.answers import Answers
from web.events import EventFeed
from web.past import PastSnapshots
from web.pipeline import Group, Observation, Partition, PipelineWatch
from web.reading import LakeReader
from web.snapshot import SnapshotStore

TABLES = {table.name.rpartition("/")[2]: table for table in lake.SILVER}
TOPIC_ID = "topic-1"
RETENTION = Retention(days=7, step_s=600)


class SilverWriter:
    """Writes Silver tables and manifests. ``rows`` leave out columns that a test does not look at."""

    def __init__(self, root: Path, clock: Callable[[], datetime]) -> None:
        self.lake = Lake(str(root))
        self._clock = clock
        self._files: dict[str, tuple[DataFile, ...]] = {}

    def create(self) -> None:
        for table in (*lake.SILVER, lake.SNAPSHOTS):
            self.lake.create(table)

    def put(self, name: str, rows: Iterable[Mapping[str, Any]], predicate: str | None = None) -> int:
        """Overwrite a table, or what a predicate names of it. No snapshot names it yet. Gives the version."""
        table = TABLES[name]
        handle = self.lake.open(table)
        write_deltalake(handle, _arrow(table, rows), mode="overwrite", predicate=predicate)
        if table in lake.OVERWRITTEN:
            self._files[table.name] = self._named_files(table)
        return int(handle.version())

    def _named_files(self, table: Table) -> tuple[DataFile, ...]:
        return named_files(self.lake, self.lake.open(table), table, self._files.get(table.name, ()))

    def snapshot(self, positions: Mapping[int, int] | None = None, topic_id: str = TOPIC_ID) -> Manifest:
        """Name the newest version of every table in a new manifest.

        :param positions: partition of the raw topic, and next offset
        """
        handle = self.lake.open(lake.SNAPSHOTS)
        written = Manifest(
            id=handle.version() + 1,
            created_at=self._clock(),
            generation=0,
            sequence=sum((positions or {}).values()),
            positions={
                SourcePartition(topic_id, partition, "ventes"): offset
                for partition, offset in (positions or {}).items()
            },
            caught_up=True,
            tables={table.name: self.lake.open(table).version() for table in lake.SILVER},
            files={table.name: self._named_files(table) for table in lake.OVERWRITTEN},
        )
        write_deltalake(
            handle,
            written.to_arrow(),
            mode="overwrite",
            commit_properties=CommitProperties(custom_metadata=written.commit_metadata),
        )
        return written


def _zero(kind: pa.DataType) -> Any:
    """What a number that is left out is; None for anything else."""
    if pa.types.is_decimal(kind):
        return Decimal(0)
    return {pa.int64(): 0, pa.float64(): 0.0}.get(kind)


def _arrow(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows with every column: a period from the row's window, zeros where a number is left out."""
    complete = []
    for row in rows:
        values = {field.name: _zero(field.type) for field in table.schema} | dict(row)
        for window in (views.HOUR, views.DAY):
            if window.column in table.schema.names:
                values |= {"annee": values[window.column].year, "mois": values[window.column].month}
        complete.append(values)
    return pa.Table.from_pylist(complete, schema=table.schema)


class FakeClock:
    """A time that stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


class FakeKafka:
    """What Kafka answers: ends by partition of the raw topic, or an error."""

    def __init__(self) -> None:
        self.topic_id = TOPIC_ID
        self.ends: dict[int, int] = {}
        self.missing_topics: tuple[str, ...] = ()
        self.error: Exception | None = None

    def __call__(self) -> Observation:
        if self.error is not None:
            raise self.error
        return Observation(
            self.missing_topics,
            tuple(Partition("ventes", self.topic_id, number, 0, end) for number, end in self.ends.items()),
            {name: Group(f"salesviews-ventes-{name}", "stable", (), 0) for name in ("ingest", "views")},
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2025, 12, 22, 15, 4, 5, 123456, tzinfo=UTC))


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def silver(tmp_path: Path, clock: FakeClock) -> SilverWriter:
    """An empty lake, its tables created, without a snapshot."""
    # A folder that is no plain word, and that looks like a partition: both must reach the files as they are.
    writer = SilverWriter(tmp_path / "annee=1 été" / "lake", clock)
    writer.create()
    return writer


@pytest.fixture
def elapsed() -> list[float]:
    """Seconds that the store believes to have passed, as the only item."""
    return [0.0]


@pytest.fixture
def store(silver: SilverWriter, clock: FakeClock, elapsed: list[float]) -> SnapshotStore:
    """Not started: a test calls ``refresh`` where the thread would."""
    return SnapshotStore(silver.lake, clock, lambda: elapsed[0])


@pytest.fixture
def pipeline(kafka: FakeKafka, clock: FakeClock) -> PipelineWatch:
    """Not started: a test calls ``look`` where the thread would."""
    return PipelineWatch(kafka, clock)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def past(silver: SilverWriter, clock: FakeClock) -> PastSnapshots:
    return PastSnapshots(silver.lake, History(silver.lake, RETENTION, clock))


@pytest.fixture
def feed(store: SnapshotStore, past: PastSnapshots, pipeline: PipelineWatch, clock: FakeClock, home: Path) -> EventFeed:
    """Not started: a test calls ``look`` where the thread would."""
    return EventFeed(store, past.history, Answers(pipeline, clock), lambda: audit_result.last(home))


@pytest.fixture
def access() -> Access:
    """Of a server on the loopback, without a token."""
    return Access("", "127.0.0.1")


@pytest.fixture
def app(
    silver: SilverWriter,
    store: SnapshotStore,
    past: PastSnapshots,
    pipeline: PipelineWatch,
    clock: FakeClock,
    home: Path,
    feed: EventFeed,
    access: Access,
) -> Flask:
    return create_app(store, past, pipeline, clock, lambda: audit_result.last(home), silver.lake, feed, access)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@dataclass(frozen=True)
class Witnessed:
    """The application over a lake of dirty sales, and the witness of what it serves."""

    made: witnessed.WitnessedLake
    store: SnapshotStore
    oracle: Oracle
    serve: Callable[..., FlaskClient]
    client: FlaskClient

    def with_reader(self, reader: LakeReader) -> FlaskClient:
        """The same, with other bounds for what is read from the lake."""
        return self.serve(reader)


@pytest.fixture(scope="session")
def witnessed_web(tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """Of the newest snapshot; shared: nothing is written to it."""
    return _served(witnessed.make(tmp_path_factory.mktemp("witnessed") / "lake", seed=5, count=240))


@pytest.fixture(scope="session")
def years_web(tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """The same over a year and some months."""
    return _served(witnessed.make_years(tmp_path_factory.mktemp("years") / "lake", seed=7))


def _served(made: witnessed.WitnessedLake) -> Witnessed:
    clock = FakeClock(made.manifest().created_at + timedelta(seconds=2))
    store = SnapshotStore(made.lake, clock)
    store.refresh()
    past = PastSnapshots(made.lake, History(made.lake, RETENTION, clock))
    pipeline = PipelineWatch(FakeKafka(), clock)
    pipeline.look()

    def serve(reader: LakeReader | None = None) -> FlaskClient:
        return create_app(store, past, pipeline, clock, lambda: None, made.lake, reader=reader).test_client()

    return Witnessed(made, store, made.oracle(), serve, serve())
