"""Maintenance: the one place that deletes history, so that commits stay fast and the disk does not fill.

It runs beside live processors and readers, and beside another maintenance; never beside a copy *into* the lake: a file
that keeps its old time, and is there before the log that names it, would be deleted. In order:

1. Set Delta's properties on tables that an older program created.
2. Keep history: copy to ``silver/snapshots_retained`` the manifests that stay of those that are not recent any more,
   drop those beyond retention, and record up to which snapshot this was decided: one commit. A day of which a file
   cannot be read is not written again, but added to; nothing else is dropped then.
3. Clean up logs: make a checkpoint where there is none, and delete what lies before the versions that the oldest recent
   manifest names. Where that one cannot be read, nothing of Silver: what it may need stays.
4. Compact small files of the append-only tables: not while a generation is being computed, which reads all of Bronze
   and replaces what was counted.
5. Delete data files that are in no version that is left in a log and in no manifest that is kept: none of Silver's
   while a retained manifest cannot be read.

A crash between two steps leaves less done, and nothing wrong: the next run decides the same and goes on. What one step
deletes, the step before has made needless for good: a snapshot that was dropped or thinned out never comes back, and
versions only go up. So a maintenance that slept, or runs beside another, deletes nothing that is needed.

Step 5 looks at the disk first, then at the logs, then at the retained manifests. Files move the same way: a writer's
file is on disk before a log names it, and a manifest is retained before its log goes. So each file that is needed is
seen in one of them. Files younger than the grace may be a writer's that has not committed yet.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from salesviews import lake, manifest
from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.maintenance.maintenance_result import Result, TableResult
from salesviews.maintenance.retained import Unread, batches
from salesviews.maintenance.retention import Retention
from salesviews.maintenance.shelving import History, Shelving
from salesviews.manifest import Manifest
from salesviews.tables import delta_log, files, storage
from salesviews.tables.delta_log import Log
from salesviews.tables.files import Partition

APPEND_ONLY: tuple[Table, ...] = (lake.BRONZE, lake.CLEAN, lake.REJECTED)

_log = logging.getLogger(__name__)

_CHECKPOINT_INTERVAL = int(lake.PROPERTIES["delta.checkpointInterval"])
_ATTEMPTS = 5
_RETRIES_IN_A_COMPACTION = 100  # appends land all the time
_BATCH_ROWS = 100


@dataclass(frozen=True)
class Options:
    """
    :param grace_s: a data file that nothing names is left alone for so long: its writer may be about to commit it
    :param small_files: so many files below ``target_bytes`` in a partition are worth compacting
    """

    retention: Retention
    grace_s: float = 3600.0
    small_files: int = 20
    target_bytes: int = 64 * 1024 * 1024
    is_dry_run: bool = False


def run(
    source: Lake,
    options: Options,
    writer: Callable[[Table], WriterProperties],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Result:
    """Maintain a lake once.

    :param writer: how the files of an append-only table are written
    :raises LakeError: if there is no lake, or its snapshots cannot be read or kept: then nothing was deleted
    """
    try:
        return _Maintenance(source, options, writer, clock).run()
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"{source.root} could not be maintained: {error}. Is there space, and are there rights to write?"
        ) from error


def run_every(
    source: Lake,
    options: Options,
    writer: Callable[[Table], WriterProperties],
    interval_s: float,
    show: Callable[[Result], None],
    wait: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Maintain a lake again and again, as soon as there is one."""
    while True:
        if any(source.exists(table) for table in lake.TABLES):
            show(run(source, options, writer))
        else:
            _log.info("There is no table in %s yet.", source.root)
        wait(interval_s)


@dataclass
class _Work:
    """What is done on one table.

    :param files: on disk when the run began, by their paths under the table
    :param log: as it is now, as far as this run knows
    :param log_before: as it was when the run began
    :param first: the first version that stays in the log
    """

    table: Table
    files: dict[str, storage.File]
    log: Log
    log_before: Log
    first: int = 0
    log_deleted: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    compacted: int = 0
    compacted_into: int = 0
    seconds: float = 0.0
    is_left: bool = False
    problem: str | None = None


class _Maintenance:
    def __init__(
        self,
        source: Lake,
        options: Options,
        writer: Callable[[Table], WriterProperties],
        clock: Callable[[], datetime],
    ) -> None:
        self._lake = source
        self._options = options
        self._writer = writer
        self._clock = clock
        self._works: dict[str, _Work] = {}
        self._problems: list[str] = []

    def run(self) -> Result:
        started_at, started_s = self._clock(), time.monotonic()
        self._works = {table.name: work for table in lake.TABLES if (work := self._look_at(table))}
        if not self._works:
            raise LakeError(
                f"There is no table in {self._lake.root}. Is SALESVIEWS_LAKE the right address? The processors create "
                "the tables when they start."
            )
        newest, is_known = self._newest()
        self._set_properties(newest)  # 1
        options = self._options
        history = Shelving(self._lake, options.retention, self._clock, options.is_dry_run).keep()  # 2
        self._set_firsts(history)
        self._clean_up_logs()  # 3
        if is_known and (newest is None or newest.successor is None):
            self._compact()  # 4
        self._delete_files(history, started_at)  # 5
        return Result(
            is_dry_run=self._options.is_dry_run,
            started_at=started_at,
            seconds=round(time.monotonic() - started_s, 3),
            recent=history.recent,
            retained=history.retained,
            copied=len(history.copied),
            dropped=len(history.dropped),
            tables=tuple(map(self._result, self._works.values())),
            problems=(*self._problems, *history.problems),
        )

    def _newest(self) -> tuple[Manifest | None, bool]:
        """The newest manifest, if there is one, and whether that is known."""
        try:
            return manifest.read(self._lake) if lake.SNAPSHOTS.name in self._works else None, True
        except LakeError as error:
            self._problems.append(f"The newest manifest cannot be read. Nothing is compacted. {error}")
            return None, False

    # ---- 1 ----

    def _set_properties(self, newest: Manifest | None) -> None:
        """Not those of the snapshots: each version of that table is a snapshot, it takes no other commits.

        A view table is left alone while its version is not the manifest's: a views process that starts goes back to
        the manifest's, and to its properties; a later run sets them again.
        """
        for work in self._sound((*APPEND_ONLY, *lake.OVERWRITTEN)):
            with self._working_on(work):
                handle = self._lake.open(work.table)
                held = handle.metadata().configuration
                missing = {name: value for name, value in lake.PROPERTIES.items() if held.get(name) != value}
                is_named = newest is not None and newest.tables.get(work.table.name) == handle.version()
                if missing and (is_named or work.table in APPEND_ONLY) and not self._options.is_dry_run:
                    handle.alter.set_table_properties(missing)
                    work.log = self._log(work.table)

    # ---- 3 ----

    def _set_firsts(self, history: History) -> None:
        """Each manifest from the first on names these versions or later ones. Where it names none, all stay.

        The views process, when it starts, goes back to what the newest one names.
        """
        since = self._options.retention.recent(self._clock())
        named = {} if history.named is None else history.named.tables
        for work in self._works.values():
            if work.table is lake.SNAPSHOTS:
                work.first = 0 if history.first is None else history.first.id
            elif work.table in lake.SILVER:
                work.first = named.get(work.table.name, work.log.oldest)
            else:
                work.first = work.log.first_since(since)

    def _clean_up_logs(self) -> None:
        for work in self._sound(lake.TABLES):
            with self._working_on(work):
                if work.log.newest < work.first:
                    raise LakeError(
                        f"It is at version {work.log.newest}, but the oldest recent manifest names {work.first}. "
                        "Was it deleted or restored? `salesviews rebuild` computes Silver again from Bronze."
                    )
                if work.log.since_checkpoint > _CHECKPOINT_INTERVAL and not self._options.is_dry_run:
                    self._lake.open(work.table).create_checkpoint()
                    work.log = self._log(work.table)
                if unneeded := work.log.unneeded(work.first):
                    files.listing(self._lake, work.table, work.first)  # its checkpoint can be read
                work.log_deleted = len(unneeded)
                if not self._options.is_dry_run:
                    for path in unneeded:
                        storage.delete(path)
                    work.log = self._log(work.table)

    # ---- 4 ----

    def _compact(self) -> None:
        for work in self._sound(APPEND_ONLY):
            with self._working_on(work):
                for partition, count in self._small_files(work.table).items():
                    if self._options.is_dry_run:
                        work.compacted += count
                        work.compacted_into += 1
                    else:
                        self._compact_partition(work, partition)

    def _small_files(self, table: Table) -> dict[Partition, int]:
        """The partitions with many small files, and how many they have."""
        columns = [f"partition.{name}" for name in table.partition_by]
        actions = pa.table(self._lake.open(table).get_add_actions(flatten=True)).select([*columns, "size_bytes"])
        small = actions.filter(pc.less(actions.column("size_bytes"), self._options.target_bytes))
        places = [small.column(name).to_pylist() for name in columns]
        counts = Counter[Partition](zip(*places, strict=True) if places else [()] * small.num_rows)
        return {partition: count for partition, count in counts.items() if count >= self._options.small_files}

    def _compact_partition(self, work: _Work, partition: Partition) -> None:
        table = work.table
        values = zip(table.partition_by, partition, strict=True)
        metrics = self._lake.open_to_rewrite(table, self._clock()).optimize.compact(
            partition_filters=[(name, "=", str(value)) for name, value in values] or None,
            target_size=self._options.target_bytes,
            max_concurrent_tasks=1,
            writer_properties=self._writer(table),
            commit_properties=CommitProperties(max_commit_retries=_RETRIES_IN_A_COMPACTION),
        )
        work.compacted += metrics["numFilesRemoved"]
        work.compacted_into += metrics["numFilesAdded"]

    # ---- 5 ----

    def _delete_files(self, history: History, looked_at: datetime) -> None:
        in_logs: dict[str, set[str]] = {}
        for work in self._sound(lake.TABLES):
            with self._working_on(work):
                in_logs[work.table.name] = self._in_log(work)
        retained, is_all = self._retained_files(history)
        before_s = looked_at.timestamp() - self._options.grace_s
        for work in self._sound(lake.TABLES if is_all else (lake.BRONZE, lake.SNAPSHOTS, lake.RETAINED)):
            with self._working_on(work):
                needed = in_logs[work.table.name] | retained[work.table.name]
                for path, file in work.files.items():
                    if path not in needed and file.written_s < before_s:
                        if not self._options.is_dry_run:
                            storage.delete(self._lake.folder(work.table) / path)
                        work.deleted += 1
                        work.deleted_bytes += file.bytes

    def _in_log(self, work: _Work) -> set[str]:
        """The files of every version from the first on.

        :raises LakeError: if files of the newest version are gone
        """
        listed = files.listing(self._lake, work.table)
        now = {path for paths in listed.files.values() for path in paths}
        folder = self._lake.folder(work.table)
        if gone := sorted(path for path in now if path not in work.files and not (folder / path).exists()):
            raise LakeError(
                f"{len(gone)} files that its log names are gone, such as {folder / gone[0]}. Nothing of it was "
                "deleted. `salesviews replay` fills Bronze again, `salesviews rebuild` computes Silver again."
            )
        oldest = files.listing(self._lake, work.table, work.first)
        added = self._log(work.table).added(work.first)
        return now | {path for paths in oldest.files.values() for path in paths} | added

    def _retained_files(self, history: History) -> tuple[dict[str, set[str]], bool]:
        """The files that retained manifests name, by table, and whether these are all.

        In a dry run the table is not yet what was decided.
        """
        found: dict[str, set[str]] = defaultdict(set)
        for each in history.copied:
            for name, of_table in each.files.items():
                found[name].update(file.path for file in of_table)
        if not self._lake.exists(lake.RETAINED):
            return found, True
        dropped = pa.array([each.id for each in history.dropped], pa.int64())
        listed = files.listing(self._lake, lake.RETAINED)
        unread: list[Unread] = []
        for batch in batches(self._lake, listed, ("id", "tables"), _BATCH_ROWS, unread.append):
            kept = batch.filter(pc.invert(pc.is_in(batch.column("id"), dropped)))
            tables = kept.column("tables").flatten()
            names = tables.field("table").to_pylist()
            named = tables.field("files")
            paths = named.flatten().field("path").to_pylist()
            for place, path in zip(pc.list_parent_indices(named).to_pylist(), paths, strict=True):
                found[names[place]].add(path)
        oldest = self._options.retention.oldest(self._clock())
        return found, all(each.is_given_up(oldest) for each in unread)

    # ---- all steps ----

    def _look_at(self, table: Table) -> _Work | None:
        """The table as it is on disk; None where there is none."""
        log = delta_log.read(self._lake, table)
        if log is None:
            return None
        return _Work(table, {file.path: file for file in storage.data_files(self._lake.folder(table))}, log, log)

    def _log(self, table: Table) -> Log:
        log = delta_log.read(self._lake, table)
        if log is None:
            raise LakeError(f"The log of {table.name} in {self._lake.root} is gone since this began.")
        return log

    def _sound(self, tables: Iterable[Table]) -> list[_Work]:
        """The tables that are there, without those that are left alone."""
        works = (self._works.get(table.name) for table in tables)
        return [work for work in works if work is not None and not work.is_left]

    @contextmanager
    def _working_on(self, work: _Work) -> Iterator[None]:
        """Times the work. What goes wrong is this table's problem, which is left alone for the rest of the run.

        It is none where another maintenance has cleaned up its log meanwhile.
        """
        started_s = time.monotonic()
        try:
            yield
        except CommitFailedError as error:
            _log.info("%s was changed by others meanwhile; the next run goes on: %s", work.table.name, error)
        except (LakeError, DeltaError, OSError) as error:
            work.is_left = True
            now = delta_log.read(self._lake, work.table)
            is_overtaken = now is not None and work.log_before.oldest <= work.first < now.oldest
            if not is_overtaken:
                work.problem = str(error)
        finally:
            work.seconds += time.monotonic() - started_s

    def _result(self, work: _Work) -> TableResult:
        files_after, log_after = len(work.files) - work.deleted, len(work.log_before.entries) - work.log_deleted
        bytes_before = sum(file.bytes for file in work.files.values())
        bytes_after = bytes_before - work.deleted_bytes
        if not self._options.is_dry_run and (now := self._look_at(work.table)) is not None:
            files_after, log_after = len(now.files), len(now.log.entries)
            bytes_after = sum(file.bytes for file in now.files.values())
        return TableResult(
            table=work.table.name,
            files_before=len(work.files),
            files_after=files_after,
            bytes_before=bytes_before,
            bytes_after=bytes_after,
            log_before=len(work.log_before.entries),
            log_after=log_after,
            log_deleted=work.log_deleted,
            deleted=work.deleted,
            compacted=work.compacted,
            compacted_into=work.compacted_into,
            seconds=round(work.seconds, 3),
            problem=work.problem,
        )
