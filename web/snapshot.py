"""What the web serves: one snapshot of Silver at a time, in an in-process DuckDB, replaced when the manifest moves.

Consistency is DuckDB's own. A new snapshot is loaded in one transaction; a request reads in one transaction of its own
cursor. So a request sees one snapshot from its first query to its last, a load blocks no request, and what a load
replaced is dropped by DuckDB once no transaction can see it.

The manifest is looked at by one light thread: does the file of the next version of ``silver/snapshots`` exist? That is
microseconds, a few times a second, whatever the number of requests; and requests themselves never touch the lake, so a
slow or broken disk cannot slow them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from salesviews import manifest
from salesviews.errors import SalesviewsError
from salesviews.lake import OVERWRITTEN, SNAPSHOTS, Lake, Table
from salesviews.manifest import Manifest
from salesviews.tables import files, storage
from web.deadlines import Deadlines
from web.watching import Watching

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.1
"""Between two looks for the next version's file."""

REMOTE_LOOK_INTERVAL_S = 0.5
"""The same in an object store, where a look is a request."""

LISTING_INTERVAL_S = 10.0
"""Between two looks that open the table: log clean-up may have removed the next version's file while nobody looked, and
a lake that was deleted and created again starts at version 0."""

RETRY_S = (0.5, 10.0)
"""After a failed load: the first wait, which doubles, and the longest."""


Tables = Mapping[str, Callable[[], pa.Table]]


class NoSnapshotError(SalesviewsError):
    """There is nothing to serve yet."""


DEADLINES = Deadlines()

_MANIFESTS = 100
"""How many of the manifests that were served are kept: more than any request can be behind."""


_row_counts: dict[str, Mapping[str, int]] = {}
"""Of the snapshots that were asked for lately, by the manifest's digest: asking the database takes a millisecond."""


@dataclass(frozen=True)
class Failure:
    """A load that did not work. The snapshot before it is still served.

    :param attempts: how many in a row
    """

    message: str
    since: datetime
    attempts: int
    retry_after_s: float


class Snapshot:
    """What one request sees: the tables by their short names (``hourly_sales``), all of one manifest."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, manifests: Mapping[str, Manifest], as_of: str | None = None
    ) -> None:
        """
        :param manifests: those that were served, by their digest
        :param as_of: how it was asked for; None: it is the one that is served
        :raises NoSnapshotError: if none was ever loaded
        """
        self.as_of = as_of
        self._cursor = cursor
        rows = self.query("SELECT digest FROM snapshots")
        if not rows:
            raise NoSnapshotError(
                "No snapshot of the figures is there yet: the processors write the first when they start."
            )
        ((self.digest,),) = rows
        self.manifest = manifests[self.digest]

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query. Values from outside are ``parameters``, never part of ``sql``."""
        return self._cursor.execute(sql, list(parameters)).fetchall()

    def row_counts(self) -> Mapping[str, int]:
        """How many rows each table has, by its name in the manifest; of a program with other views, fewer tables."""
        counts = _row_counts.get(self.digest)
        if counts is None:
            # DuckDB calls it an estimate, because of tables that change: these are written once, and whole.
            sizes = dict(self.query("SELECT table_name, estimated_size FROM duckdb_tables()"))
            counts = {table.name: sizes[short_name(table)] for table in OVERWRITTEN if short_name(table) in sizes}
            _row_counts[self.digest] = counts
            for digest in list(_row_counts)[:-_MANIFESTS]:
                _row_counts.pop(digest, None)
        return counts

    def texts(self, sql: str, parameters: Sequence[Any] = (), tables: Tables = MappingProxyType({})) -> Sequence[str]:
        """The values of a query that has the one column ``text``.

        :param tables: what it reads beside the snapshot, by name
        """
        with self._held(tables):
            # As a column: half the time of making a tuple of each of 50,000 rows.
            return list(self._cursor.execute(sql, list(parameters)).fetchnumpy()["text"])

    def table(self, sql: str, parameters: Sequence[Any] = (), tables: Tables = MappingProxyType({})) -> pa.Table:
        """The rows of a query in Arrow's form.

        :param tables: what it reads beside the snapshot, by name
        """
        with self._held(tables):
            return self._cursor.sql(sql, params=list(parameters)).to_arrow_table()

    @contextmanager
    def _held(self, tables: Tables) -> Iterator[None]:
        for name, make in tables.items():
            self._cursor.register(name, make())
        try:
            yield
        finally:
            for name in tables:
                self._cursor.unregister(name)


class SnapshotStore:
    """Loads what the manifest names, and hands it to requests.

    :param clock: now, in UTC
    :param elapsed_s: seconds since any fixed moment
    """

    def __init__(
        self, lake: Lake, clock: Callable[[], datetime], elapsed_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._lake = lake
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._database = new_database()
        for table in (SNAPSHOTS, *OVERWRITTEN):
            replace_rows(self._database, table, table.schema.empty_table())
        self._manifests: dict[str, Manifest] = {}
        self._loading = threading.Lock()
        self._manifest_table: files.Listing | None = None
        self._loaded: dict[str, files.Listing] = {}
        self._listed_at_s = elapsed_s() - LISTING_INTERVAL_S
        self._failure: Failure | None = None
        self._followers: list[Callable[[Manifest], None]] = []
        self._interval_s = LOOK_INTERVAL_S
        self._watching = Watching(
            "snapshots",
            self._try_refresh,
            lambda: self._failure.retry_after_s if self._failure else self._interval_s,
        )

    def follow(self, tell: Callable[[Manifest], None]) -> None:
        """Call ``tell`` after each snapshot that was loaded, in the thread that loaded it."""
        self._followers.append(tell)

    def start(self) -> None:
        """Load what is there, and from now on what comes, in a thread of its own."""
        if not storage.is_folder(self._lake.folder(SNAPSHOTS)):
            self._interval_s = REMOTE_LOOK_INTERVAL_S
        self._watching.start()

    def close(self) -> None:
        """End the thread. Requests that still run keep their snapshot."""
        self._watching.close()

    @property
    def failure(self) -> Failure | None:
        """Why the newest snapshot is not served; None while all is well."""
        return self._failure

    @property
    def generation(self) -> int:
        """Of the figures that are served; 0 before the first snapshot."""
        newest = next(reversed(self._manifests.values()), None)
        return 0 if newest is None else newest.generation

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        """One snapshot for one request. Leave it before anything is sent: it holds memory of what was replaced since.

        :raises NoSnapshotError: if none was ever loaded
        :raises TooSlowError: if its queries take too long
        """
        with self._database.cursor() as cursor, DEADLINES.hold(cursor):
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield Snapshot(cursor, self._manifests)

    def refresh(self) -> bool:
        """Load the newest snapshot if it is not the one served; tell whether it was loaded.

        :raises LakeError: naming the table or file that cannot be read; the snapshot before is still served
        """
        with self._loading:
            if not self._has_moved():
                return False
            newest = files.listing(self._lake, SNAPSHOTS)
            found = manifest.read(self._lake, newest.version)
            if found is not None:
                self._load(found, newest)
            self._manifest_table = newest
            self._listed_at_s = self._elapsed_s()
            if found is None:
                return False
            for tell in self._followers:
                tell(found)
            return True

    def _has_moved(self) -> bool:
        served = self._manifest_table
        log = self._lake.folder(SNAPSHOTS) / "_delta_log"
        if (log / f"{0 if served is None else served.version + 1:020}.json").exists():
            return True
        if self._elapsed_s() - self._listed_at_s < LISTING_INTERVAL_S:
            return False
        if served is None:
            return self._lake.exists(SNAPSHOTS)
        newest = files.listing(self._lake, SNAPSHOTS)
        self._listed_at_s = self._elapsed_s()
        return newest.table_id != served.table_id or newest.version != served.version

    def _load(self, named: Manifest, newest: files.Listing) -> None:
        """Replace the snapshot that is served.

        1. Begin a transaction.
        2. Replace each table whose version changed, reading only its changed partitions.
        3. Replace the manifest's row.
        4. Commit: from here on, requests that begin see the new snapshot.
        5. Remember what is loaded.

        An error before 4 rolls everything back; between 4 and 5 nothing can fail.
        """
        started_s = self._elapsed_s()
        is_other_lake = self._manifest_table is None or self._manifest_table.table_id != newest.table_id
        loaded = {} if is_other_lake else dict(self._loaded)
        partitions_read = 0
        with self._database.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION")  # 1
            for table in OVERWRITTEN:  # 2
                before = loaded.get(table.name)
                after = named.listing(self._lake, table)
                if before is not None and before.files == after.files:
                    continue
                changed = set(after.files) if before is None else after.changed_since(before)
                keeps = before is not None and bool(table.partition_by)
                replace_rows(cursor, table, files.rows(self._lake, after, changed), changed if keeps else None)
                loaded[table.name] = after
                partitions_read += len(changed)
            replace_rows(cursor, SNAPSHOTS, named.to_arrow())  # 3
            self._manifests.pop(named.digest, None)
            self._manifests[named.digest] = named
            for digest in list(self._manifests)[:-_MANIFESTS]:
                del self._manifests[digest]
            cursor.execute("COMMIT")  # 4
        self._loaded = loaded  # 5
        elapsed_ms = (self._elapsed_s() - started_s) * 1000
        logger.debug("Snapshot %s is served: %s partitions read in %.0f ms.", named.id, partitions_read, elapsed_ms)

    def _try_refresh(self) -> None:
        try:
            self.refresh()
        except Exception as error:
            self._note(error)
        else:
            if self._failure:
                logger.info("The newest snapshot is served again, after %s attempts.", self._failure.attempts)
            self._failure = None

    def _note(self, error: Exception) -> None:
        """Keep a failed load for the status; log it as an error once, then as a warning while it stays the same."""
        before = self._failure
        first_s, longest_s = RETRY_S
        self._failure = Failure(
            str(error) if isinstance(error, SalesviewsError) else repr(error),
            before.since if before else self._clock(),
            before.attempts + 1 if before else 1,
            min(before.retry_after_s * 2, longest_s) if before else first_s,
        )
        is_known = before is not None and before.message == self._failure.message
        logger.log(
            logging.WARNING if is_known else logging.ERROR,
            "The newest snapshot cannot be loaded (attempt %s); the one before is still served. %s",
            self._failure.attempts,
            self._failure.message,
            exc_info=None if isinstance(error, SalesviewsError) else error,
        )


def new_database() -> duckdb.DuckDBPyConnection:
    """An empty database in memory, that reaches nothing else."""
    database = duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database


def replace_rows(
    cursor: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table, changed: set[files.Partition] | None = None
) -> None:
    """Give a table new rows: all of them, or those of the ``changed`` partitions."""
    name = short_name(table)
    cursor.register("incoming", rows)
    try:
        if changed is None:
            cursor.execute(f'CREATE OR REPLACE TABLE "{name}" AS SELECT * FROM incoming')
            return
        columns = [table.schema.field(column) for column in table.partition_by]
        values = [dict(zip(table.partition_by, partition, strict=True)) for partition in changed]
        cursor.register("changed", pa.Table.from_pylist(values, schema=pa.schema(columns)))
        same = " AND ".join(f'changed."{field.name}" IS NOT DISTINCT FROM kept."{field.name}"' for field in columns)
        cursor.execute(
            f'CREATE OR REPLACE TABLE "{name}" AS SELECT * FROM "{name}" AS kept '
            f"WHERE NOT EXISTS (SELECT 1 FROM changed WHERE {same}) UNION ALL SELECT * FROM incoming"
        )
        cursor.unregister("changed")
    finally:
        cursor.unregister("incoming")


def instant_of(since_1970_us: int) -> datetime:
    """The instant of ``epoch_us(...)``: DuckDB would need another package to give a TIMESTAMPTZ as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_1970_us)


def short_name(table: Table) -> str:
    """``silver/hourly_sales`` is ``hourly_sales`` in a query."""
    return table.name.rpartition("/")[2]
