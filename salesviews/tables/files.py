"""The data files of one version of a Delta table: which there are, by partition, and their rows as Arrow.

Delta files never change, so two versions differ by their lists of files, and only the partitions that differ are read.
Files are read one by one with pyarrow: an error names its file, and the path is taken as it is. A query that looks for
few rows is several times faster with DuckDB's own reader (``parquet_sql``), which skips pages. That one would take
characters of a folder's name for a pattern, and ``name=value`` folders above the lake for columns, unless told not to;
and its errors do not always name the file (``find_unreadable``).
"""

import functools
import hashlib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from salesviews.errors import LakeError, UnreadableError
from salesviews.lake import BRONZE, RETAINED, Lake, Table
from salesviews.tables import storage
from salesviews.tables.storage import Place

_BATCH_ROWS = 20_000
SET_ASIDE = "_unreadable"
"""The folder of a table's files that were set aside: what begins with an underscore is no business of Delta's."""

_REMEDIES = {
    BRONZE.name: "`salesviews replay --drop-unreadable` reads its messages from Kafka again",
    RETAINED.name: f"move it to the folder {SET_ASIDE} in the table's own (if it is gone, put an empty file of its "
    "name there): the earlier snapshots that it holds are given up then, and recent ones stay",
}

_PATTERN = re.compile(r"[*?[]")
_SEARCH_ROWS = 10_000
_LEAST, _GREATEST = -(2**63), 2**63 - 1

Partition = tuple[Any, ...]
"""Values of a table's partition columns, in the order of its declaration; () where it has none."""


@dataclass(frozen=True)
class Listing:
    """The files of one version of a table.

    :param table_id: Delta's id of the table: one that was deleted and created again has another
    :param files: for each partition, the paths of its files under the table
    :param digests: of files that must be as they were written (``digest``), by path
    """

    table: Table
    table_id: str
    version: int
    files: dict[Partition, frozenset[str]]
    digests: Mapping[str, str] = field(default_factory=dict)

    def changed_since(self, before: "Listing") -> set[Partition]:
        """The partitions whose files differ: added, written again, or gone."""
        if before.table_id != self.table_id:
            return before.files.keys() | self.files.keys()
        return {
            partition
            for partition in before.files.keys() | self.files.keys()
            if before.files.get(partition) != self.files.get(partition)
        }

    def only(self, keeps: Callable[[Partition], bool]) -> "Listing":
        """The same version with some of its partitions."""
        return replace(self, files={each: paths for each, paths in self.files.items() if keeps(each)})


@dataclass(frozen=True)
class Span:
    """A file's rows, and between which values a column of integers has them; all integers where the log does not say.

    :param path: under the table
    """

    partition: Partition
    path: str
    rows: int
    low: int
    high: int

    @property
    def is_known(self) -> bool:
        """The log says it."""
        return self.low > _LEAST


def listing(lake: Lake, table: Table, version: int | None = None) -> Listing:
    """The files of a version (default: the newest).

    :raises LakeError: if the table or that version of it cannot be read
    """
    try:
        return of_handle(lake.open(table, version), table)
    except (DeltaError, OSError, ValueError) as error:
        which = "The newest version" if version is None else f"Version {version}"
        raise LakeError(
            f"{which} of {table.name} cannot be opened in {lake.root}: {error}. "
            "Its _delta_log may be damaged, or cleaned up too early."
        ) from error


def of_handle(handle: DeltaTable, table: Table) -> Listing:
    """The files of an open table."""
    files: dict[Partition, set[str]] = {}
    places = [f"partition.{column}" for column in table.partition_by]
    # The columns that are used: the statistics of thousands of files take a tenth of a second as Python values.
    for action in pa.table(handle.get_add_actions(flatten=True)).select(["path", *places]).to_pylist():
        partition = tuple(action[f"partition.{column}"] for column in table.partition_by)
        files.setdefault(partition, set()).add(action["path"])
    return Listing(
        table,
        _table_id(handle),
        handle.version(),
        {partition: frozenset(paths) for partition, paths in files.items()},
    )


def spans(handle: DeltaTable, table: Table, column: str) -> list[Span]:
    """The files of an open table that have rows, with what the log says of a column of 64-bit integers."""
    actions = pa.table(handle.get_add_actions(flatten=True))
    low, high, *places = names = [
        f"min.{column}",
        f"max.{column}",
        *(f"partition.{name}" for name in table.partition_by),
    ]
    known = [name for name in ("path", "num_records", *names) if name in actions.column_names]
    return [
        Span(
            tuple(action[place] for place in places),
            action["path"],
            action["num_records"] or 0,
            _LEAST if action.get(low) is None else action[low],
            _GREATEST if action.get(high) is None else action[high],
        )
        for action in actions.select(known).to_pylist()
        if action["num_records"] != 0
    ]


def rows(lake: Lake, of: Listing, partitions: Iterable[Partition]) -> pa.Table:
    """The rows of some partitions, with the declared schema.

    :raises LakeError: naming the file that is missing, damaged (by its digest, where one is known), or not what the
        table declares
    """
    schema = of.table.schema
    stored = [name for name in schema.names if name not in of.table.partition_by]
    pieces = [schema.empty_table()]
    for partition in partitions:
        values = dict(zip(of.table.partition_by, partition, strict=True))
        for path in sorted(of.files.get(partition, ())):
            file = lake.folder(of.table) / path
            try:
                content = _checked(file.read_bytes(), of.digests.get(path))
                piece = pq.ParquetFile(pa.BufferReader(content)).read(columns=stored, use_threads=False)
                for name, value in values.items():
                    column = pa.repeat(pa.scalar(value, schema.field(name).type), piece.num_rows)
                    piece = piece.append_column(name, column)
                pieces.append(piece.select(schema.names).cast(schema))
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                raise _unreadable(file, of, error) from error
    return pa.concat_tables(pieces)


@dataclass(frozen=True)
class Between:
    """The rows of an appended table with a sequence beyond ``after``, up to ``to``. Other files are not opened.

    :raises LakeError: by what reads them, naming the file that is missing or damaged
    """

    lake: Lake
    listed: Listing
    after: int
    to: int

    @classmethod
    def of(cls, lake: Lake, table: Table, after: int, to: int) -> "Between":
        handle = lake.open(table)
        wanted = {span.path for span in spans(handle, table, "sequence") if span.high > after and span.low <= to}
        listed = of_handle(handle, table)
        chosen = {partition: paths & wanted for partition, paths in listed.files.items()}
        return cls(lake, replace(listed, files=chosen), after, to)

    @property
    def _condition(self) -> pc.Expression:
        return (pc.field("sequence") > self.after) & (pc.field("sequence") <= self.to)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException, duckdb.Error) as error:
            raise find_unreadable(self.lake, self.listed, error) or error from error

    def count(self) -> int:
        with self._named():
            return int(dataset(self.lake, self.listed).count_rows(filter=self._condition))

    @contextmanager
    def reader(self, columns: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """To be read once, batch by batch."""
        with self._named():
            found = dataset(self.lake, self.listed)
            yield found.scanner(columns=list(columns), filter=self._condition, use_threads=False).to_reader()


def stored_rows(lake: Lake, of: Listing) -> pa.Table:
    """The rows of all files with the columns that the files have, whatever the table declares now.

    :raises LakeError: naming the file that is missing or damaged
    """
    pieces = []
    for partition, paths in sorted(of.files.items()):
        for path in sorted(paths):
            file = lake.folder(of.table) / path
            try:
                piece = pq.ParquetFile(pa.BufferReader(_checked(file.read_bytes(), of.digests.get(path)))).read()
                for name, value in zip(of.table.partition_by, partition, strict=True):
                    kind = of.table.schema.field(name).type
                    piece = piece.append_column(name, pa.repeat(pa.scalar(value, kind), piece.num_rows))
                pieces.append(piece)
            except (OSError, pa.ArrowException, ValueError) as error:
                raise _unreadable(file, of, error) from error
    return pa.concat_tables(pieces, promote_options="permissive") if pieces else of.table.schema.empty_table()


def batches(lake: Lake, of: Listing, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """All rows of a version in small batches, file by file, with the declared types: memory stays bounded.

    :raises UnreadableError: while it is read, naming the file that is missing, damaged, or not what the table declares
    """
    for partition, paths in sorted(of.files.items()):
        for path in sorted(paths):
            yield from _batches_of(lake, of, partition, path, columns, batch_rows)


def batches_within(
    lake: Lake, of: Listing, span: Span, columns: Sequence[str], column: str, bounds: tuple[int, int], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """As ``batches``, of one file, without the row groups that have no value of a column within the bounds.

    :param bounds: the least value and the greatest
    """

    def has_some(group: pq.RowGroupMetaData) -> bool:
        [place] = [each for each in range(group.num_columns) if group.column(each).path_in_schema == column]
        statistics = group.column(place).statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return bool(statistics.min <= bounds[1] and statistics.max >= bounds[0])

    yield from _batches_of(lake, of, span.partition, span.path, columns, batch_rows, has_some)


def unreadable(lake: Lake, of: Listing) -> Iterator[UnreadableError]:
    """Every file of a version that is damaged or not what the table declares; each is read whole."""
    for partition, paths in sorted(of.files.items()):
        for path in sorted(paths):
            try:
                for _ in _batches_of(lake, of, partition, path, of.table.schema.names, _BATCH_ROWS):
                    pass
            except UnreadableError as error:
                if error.file.exists():
                    yield error


def _batches_of(
    lake: Lake,
    of: Listing,
    partition: Partition,
    path: str,
    columns: Sequence[str],
    batch_rows: int,
    wanted: Callable[[pq.RowGroupMetaData], bool] = lambda _: True,
) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([of.table.schema.field(name) for name in columns])
    stored = [name for name in columns if name not in of.table.partition_by]
    values = dict(zip(of.table.partition_by, partition, strict=True))
    file = lake.folder(of.table) / path
    try:
        with pq.ParquetFile(storage.source(file), pre_buffer=False) as opened:
            groups = [each for each in range(opened.num_row_groups) if wanted(opened.metadata.row_group(each))]
            for batch in opened.iter_batches(batch_rows, groups, stored, use_threads=False):
                piece = {name: batch.column(name) for name in stored} | {
                    name: pa.repeat(pa.scalar(values[name], schema.field(name).type), batch.num_rows)
                    for name in columns
                    if name in values
                }
                yield pa.record_batch([piece[name].cast(schema.field(name).type) for name in columns], schema)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _unreadable(file, of, error) from error


@contextmanager
def streamed(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    lake: Lake,
    of: Sequence[Listing],
    columns: Sequence[str],
    on_read: Callable[[int], object] | None = None,
) -> Iterator[None]:
    """All rows of versions, of tables that have the same columns, as a relation of DuckDB that can be read once.

    :param on_read: called with a number of rows, each time that so many more were read
    :raises LakeError: naming the file, and not DuckDB's account of it
    """
    failure: list[Exception] = []
    schema = pa.schema([of[0].table.schema.field(each) for each in columns])

    def arriving() -> Iterator[pa.RecordBatch]:
        try:
            for listed in of:
                for batch in batches(lake, listed, columns, _BATCH_ROWS):
                    yield batch
                    if on_read:
                        on_read(batch.num_rows)
        except Exception as error:
            failure.append(error)
            raise

    connection.register(name, pa.RecordBatchReader.from_batches(schema, arriving()))
    try:
        yield
    except duckdb.Error:
        if failure:
            raise failure[0] from None
        raise
    finally:
        connection.unregister(name)


def dataset(lake: Lake, of: Listing) -> ds.Dataset:
    """A version as an Arrow dataset: DuckDB queries it, and reads only the columns and partitions it needs."""
    (file_system, folder), parquet = storage.file_system(lake.folder(of.table)), ds.ParquetFileFormat()
    fragments = [
        parquet.make_fragment(f"{folder}/{path}", file_system, _guarantee(of.table, partition))
        for partition, paths in sorted(of.files.items())
        for path in sorted(paths)
    ]
    return ds.FileSystemDataset(fragments, of.table.schema, parquet, file_system)


def _checked(content: bytes, digest: str | None) -> bytes:
    if digest is not None and digest_of(content) != digest:
        raise ValueError("its bytes are not those that were written")
    return content


def digest(lake: Lake, table: Table, path: str) -> str:
    """Of a file's bytes: any change of the file gives another one.

    :raises LakeError: if the file cannot be read
    """
    file = lake.folder(table) / path
    try:
        return digest_of(file.read_bytes())
    except OSError as error:
        raise LakeError(
            f"{file}, which the log of {table.name} names, cannot be read: {error}. Its _delta_log or the file is "
            "damaged: `salesviews rebuild` computes Silver again from Bronze."
        ) from error


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def parquet_sql(lake: Lake, of: Listing) -> str | None:
    """A version as a relation of DuckDB, without its partition columns. It has at least one file.

    None where DuckDB's own reader does not get at the files: ``dataset`` does.
    """
    root = lake.folder(of.table)
    if not isinstance(root, Path):
        return None
    paths = [str(root / path) for paths in of.files.values() for path in sorted(paths)]
    literals = ["'" + _PATTERN.sub(r"[\g<0>]", path).replace("'", "''") + "'" for path in paths]
    return f"read_parquet([{', '.join(literals)}], hive_partitioning = false)"


def find_unreadable(
    lake: Lake, of: Listing, error: Exception, tick: Callable[[], None] = lambda: None
) -> LakeError | None:
    """The file over which DuckDB failed; None if each can be read.

    :param error: what DuckDB says; where it does not name a file, all of them are read
    :param tick: called now and then meanwhile; what it raises ends the search
    """
    for paths in of.files.values():
        for path in paths:
            if Path(path).name in str(error):
                return _unreadable(lake.folder(of.table) / path, of, error)
    stored = [name for name in of.table.schema.names if name not in of.table.partition_by]
    try:
        for _ in batches(lake, of, stored, _SEARCH_ROWS):
            tick()
    except LakeError as found:
        return found
    return None


def _unreadable(file: Place, of: Listing, error: Exception) -> UnreadableError:
    return UnreadableError(
        file,
        f"{file}, a file of version {of.version} of {of.table.name}, cannot be read: {error}. Restore the file; if it "
        f"is lost, {_REMEDIES.get(of.table.name, 'Silver can be computed again from Bronze')}.",
    )


def _guarantee(table: Table, partition: Partition) -> pc.Expression:
    conditions = [pc.field(name) == pc.scalar(value) for name, value in zip(table.partition_by, partition, strict=True)]
    return functools.reduce(operator.and_, conditions, pc.scalar(True))


def _table_id(handle: DeltaTable) -> str:
    return str(handle.metadata().id)
