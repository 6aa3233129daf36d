"""Questions to one snapshot of the lake, asked on demand: SQL over the files of its tables.

Each ``Queries`` has a DuckDB connection of its own, bounded in memory, threads and time, so that a question disturbs
nothing else of its process. Only rows of the snapshot are an answer: those of ``ventes_clean`` and ``ventes_rejetees``
up to ``snapshot.sequence``, which the SQL must say.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from salesviews.errors import LakeError, LineageError
from salesviews.lake import BRONZE, Lake, Table
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.tables.files import Listing, Partition
from salesviews.typed import SourcePartition

_INTERRUPT_S = 0.05
_CONNECTION = {
    "TimeZone": "UTC",
    "preserve_insertion_order": False,
    "parquet_metadata_cache": True,
    # A join holds its right side, which the SQL makes the small one, and the messages stream past it, whatever DuckDB
    # believes of their numbers.
    "disabled_optimizers": "join_order,build_side_probe_side",
}
_DEFECTS = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)


@dataclass(frozen=True)
class Bounds:
    """What a question may take.

    :param time_s: None: as long as it takes
    :param spill_folder: where DuckDB may put what its memory does not hold; None: nowhere
    :param remedy: what whoever asks for more than that is told to do
    """

    memory_mb: int = 1024
    threads: int = 2
    time_s: float | None = None
    spill_folder: str | None = None
    remedy: str = (
        "ask for a smaller page, a shorter window or a narrower key; `salesviews lineage` may take what it needs"
    )


class Queries:
    """SQL over one snapshot. ``sources`` is a table in it: number, topic_id and partition of its source partitions."""

    def __init__(self, source: Lake, snapshot: Manifest, bounds: Bounds) -> None:
        self.lake = source
        self.snapshot = snapshot
        self.sources: list[SourcePartition] = sorted(snapshot.positions)
        self._bounds = bounds
        self._listings: dict[str, Listing] = {}
        self._read: dict[str, set[Partition]] = {}
        self._reads = itertools.count()
        self._connection = duckdb.connect(
            config={
                "threads": bounds.threads,
                "memory_limit": f"{bounds.memory_mb}MB",
                "temp_directory": bounds.spill_folder or "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        for setting, value in _CONNECTION.items():
            self._connection.execute(f"SET {setting} = $value", {"value": value})
        self._deadline_s = None if bounds.time_s is None else time.monotonic() + bounds.time_s
        self._closed = threading.Event()
        self.add_sources(())
        self._watch = threading.Thread(target=self._interrupt, name="queries", daemon=True)
        if self._deadline_s is not None:
            self._watch.start()

    def __enter__(self) -> "Queries":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._watch.is_alive():
            self._watch.join()
        self._connection.close()

    def add_sources(self, more: Iterable[SourcePartition]) -> None:
        """Number source partitions that the snapshot does not know."""
        self.sources += sorted(set(more) - set(self.sources))
        numbered = {
            "number": pa.array(range(len(self.sources)), pa.int64()),
            "topic_id": pa.array([each.topic_id for each in self.sources], pa.string()),
            "partition": pa.array([each.partition for each in self.sources], pa.int32()),
        }
        self.hold("sources", pa.table(numbered))

    def listing(self, table: Table) -> Listing:
        """The snapshot's version of a table; of Bronze, which no snapshot names, the newest.

        :raises LakeError: if the snapshot names none, or it cannot be read
        """
        if table.name not in self._listings:
            version = self.snapshot.tables.get(table.name)
            if version is None and table is not BRONZE:
                raise LakeError(
                    f"Snapshot {self.snapshot.id} names no version of {table.name}: a program that does not know "
                    "this table wrote it. Start the views process of this version."
                )
            self._listings[table.name] = files.listing(self.lake, table, version)
        return self._listings[table.name]

    def relation(self, table: Table, keeps: Callable[[Partition], bool] = lambda _: True) -> str:
        """Some partitions of a table as a relation, without the partition columns."""
        chosen = self.listing(table).only(keeps)
        if not any(chosen.files.values()):
            stored = [field for field in table.schema if field.name not in table.partition_by]
            name = f"no_{table.name.rpartition('/')[2]}"
            self._connection.register(name, pa.schema(stored).empty_table())
            return name
        self._read.setdefault(table.name, set()).update(chosen.files)
        if (relation := files.parquet_sql(self.lake, chosen)) is not None:
            return relation
        name = f"read_{next(self._reads)}"
        self._connection.register(name, files.dataset(self.lake, chosen))
        left_out = ", ".join(f'"{column}"' for column in table.partition_by)
        return f"(SELECT *{f' EXCLUDE ({left_out})' if left_out else ''} FROM {name})"

    def hold(self, name: str, rows: pa.Table) -> None:
        """Make some rows a table."""
        self._connection.register("arriving", rows)
        self.run(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM arriving")
        self._connection.unregister("arriving")

    def run(self, sql: str) -> None:
        """Run a statement that gives no rows. See ``rows`` for errors."""
        self._run(lambda: self._connection.execute(sql))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, in memory.

        :raises LakeError: naming the file that is missing or damaged
        :raises LineageError: if it takes more than the bounds allow
        """
        values: list[dict[str, Any]] = self.table(sql).to_pylist()
        return values

    def table(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The same in Arrow's form. Values from outside are ``parameters``, never part of ``sql``."""
        table: pa.Table = self._run(lambda: self._connection.sql(sql, params=list(parameters)).to_arrow_table())
        return table

    def value(self, sql: str) -> Any:
        """The one value of a query."""
        [row] = self.rows(sql)
        [value] = row.values()
        return value

    def _run(self, query: Callable[[], Any]) -> Any:
        self._check_time()
        try:
            return query()
        except duckdb.OutOfMemoryException as error:
            raise LineageError(
                f"It takes more than the {self._bounds.memory_mb} MB of memory that it may have here: "
                f"{self._bounds.remedy}."
            ) from error
        except duckdb.Error as error:
            self._check_time()
            for table, partitions in self._read.items():
                read = self._listings[table].only(partitions.__contains__)
                if found := files.find_unreadable(self.lake, read, error, self._check_time):
                    raise found from error
            if isinstance(error, _DEFECTS):
                raise
            raise LakeError(f"DuckDB cannot read {', '.join(self._read)} of {self.lake.root}: {error}") from error
        except DeltaError as error:
            raise LakeError(f"The lake at {self.lake.root} cannot be read: {error}") from error

    def _check_time(self) -> None:
        if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            raise LineageError(
                f"It takes more than the {self._bounds.time_s:g} s that it may take here: {self._bounds.remedy}."
            )

    def _interrupt(self) -> None:
        """End what runs after the deadline; again and again, as DuckDB forgets an interrupt between two queries."""
        assert self._deadline_s is not None
        wait_s = self._deadline_s - time.monotonic()
        while not self._closed.wait(max(wait_s, _INTERRUPT_S)):
            self._connection.interrupt()
            wait_s = _INTERRUPT_S
