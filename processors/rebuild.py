"""`salesviews rebuild`: all figures computed again from Bronze, as a new generation that replaces the old one at once.

Readers see the old figures until the last step, and the new ones after it. In order:

1. Announce: a manifest with the old figures that names the generation to come, whose number none has had before. A
   views process that was counting finds a manifest that is not its own, ends, and waits; so the figures never go back
   behind what was served.
2. Wait until Bronze covers the announced positions; what it covers then is what the new generation covers.
3. Compute every table from Bronze, in a temporary database (``Regeneration``), and compare with the old figures. If
   Bronze lacks messages that they count, it ends here: they would silently count no more.
4. Make the generation's topics: seeds, and where ingest goes on (``GenerationTopics``).
5. Overwrite the view tables and roll-ups. No manifest names these versions yet.
6. Overwrite ``ventes_clean`` and ``ventes_rejetees``; the same commits close the streams of the old generation, so that
   a process of it that wakes up later adds nothing.
7. Retract from the ``vues-`` topics the keys that are no longer there.
8. Write the manifest of the new generation: from here on it is served, and processors work for it.
9. Delete the topics and groups of generations before the one that was replaced: nothing works with them.

A crash before 8 leaves the old figures served and views waiting: run it again, or, before 6, give it up
(``announcement.abandon``). What is refused, fails or is interrupted before 6 withdraws its announcement, and the old
generation goes on. A second rebuild announces anew, and the first one then fails in 6 or 8: it is not the newest
manifest that it follows. What a crash before 9 leaves, the next rebuild deletes.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError

from processors import announcement
from processors.announcement import CLOSED
from processors.generation_topics import GenerationTopics
from processors.rebuild_result import Result
from processors.regeneration import Regeneration
from salesviews import definition, event, generation, lake, manifest, typed, views
from salesviews.audit import changes
from salesviews.audit.recount import Recount
from salesviews.errors import BrokerError, FencedError, LakeError, RebuildError
from salesviews.lake import Lake, Table
from salesviews.manifest import Manifest
from salesviews.settings import Settings
from salesviews.tables import files
from salesviews.typed import SourcePartition
from sinks.appends import writer_properties
from sinks.bronze import stream_name
from sinks.overwrites import WRITER, append_stream, named_files, overwrite, write_manifest

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_TELL_S = 5.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class Options:
    """
    :param wait_s: how long Bronze may take to reach the positions of the figures
    :param shown: how many examples of changes are named for each view
    :param is_dry: compute and compare, and replace nothing
    :param accepts_loss: go on where Bronze lacks messages that were counted: they count no more
    """

    memory_mb: int = 1024
    wait_s: float = 60.0
    shown: int = 5
    is_dry: bool = False
    accepts_loss: bool = False


def run(
    settings: Settings,
    options: Options,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    topics: Callable[[Settings], GenerationTopics] = GenerationTopics,
) -> Result:
    """Compute the next generation; Kafka answers by then, unless it is a dry run.

    :param topics: Kafka's side of the generations
    :raises RebuildError: if it cannot be made
    """
    try:
        with tempfile.TemporaryDirectory(prefix="salesviews-rebuild-") as folder:
            return _Rebuild(settings, options, Path(folder), clock, topics).run()
    except (DeltaError, OSError) as error:
        raise RebuildError(f"The rebuild did not come to its end: {error}. It can be run again.") from error
    except duckdb.Error as error:
        raise RebuildError(
            f"The rebuild did not come to its end. DuckDB says: {error}. It needs space in {tempfile.gettempdir()} "
            "(TMPDIR names another folder), about as much as Bronze has, and memory (--memory). It can be run again."
        ) from error


class Progress:
    """Says how many messages of Bronze were read, how fast, and how long the rest will take.

    :param elapsed_s: seconds since any fixed moment
    """

    def __init__(self, total: int, elapsed_s: Callable[[], float]) -> None:
        self._total = total
        self._elapsed_s = elapsed_s
        self._started_s = self._told_s = elapsed_s()
        self._read = 0

    def __call__(self, rows: int) -> None:
        self._read += rows
        now_s = self._elapsed_s()
        if now_s - self._told_s < _TELL_S and self._read < self._total:
            return
        self._told_s = now_s
        rate = self._read / max(now_s - self._started_s, 0.001)
        _log.info(
            "%s of %s messages read, %s a second, %.0f s to go",
            f"{self._read:,}",
            f"{self._total:,}",
            f"{rate:,.0f}",
            max(self._total - self._read, 0) / rate,
        )


class _Rebuild:
    def __init__(
        self,
        settings: Settings,
        options: Options,
        folder: Path,
        clock: Callable[[], datetime],
        topics: Callable[[Settings], GenerationTopics],
    ) -> None:
        self._settings = settings
        self._options = options
        self._folder = folder
        self._clock = clock
        self._topics = topics
        self._lake = Lake.of(settings)
        self._notes: list[str] = []
        self._goes_back = False

    @cached_property
    def _kafka(self) -> GenerationTopics:
        """Kafka's side; a dry run never asks for it."""
        return self._topics(self._settings)

    def run(self) -> Result:
        if self._options.is_dry:
            found = self._newest()
            return self._replace(found, found.positions)
        begun = announcement.announce(self._lake, self._clock, self._kafka.newest())  # 1
        self._notes += begun.notes
        try:
            return self._replace(begun.manifest, begun.served)
        except (Exception, KeyboardInterrupt):
            announcement.withdraw(self._lake, self._clock, begun.manifest)
            raise

    def _replace(self, announced: Manifest, served: Mapping[SourcePartition, int]) -> Result:
        started = time.monotonic()
        bronze, total, positions = self._wait_for_bronze(served)  # 2
        new = replace(
            announced,
            id=announced.id + 1,
            generation=announced.successor or announced.generation + 1,
            positions=positions,
            sequence=manifest.EMPTY_SEQUENCE,
            caught_up=False,
            definition=definition.of(self._settings.dedup_days),
            successor=None,
        )
        self._note_horizon(announced)
        recount = Recount(
            self._lake,
            replace(announced, positions=positions),
            bronze,
            self._folder,
            self._settings.dedup_days,
            None,
            self._options.memory_mb,
            Progress(total, time.monotonic),
        )
        try:
            made = Regeneration(recount, announced, self._settings.dedup_days)
            _log.info("Reading Bronze, version %d", bronze.version)
            made.judge()  # 3
            self._check_bronze(made)
            lost, compared = self._compare(made, announced)
            roll_ups = self._compare_roll_ups(made, announced)
            if not self._options.is_dry:
                seeds = self._prepare_topics(made, announced, new)  # 4
                new = self._write(made, announced, replace(new, sequence=typed.last_sequence(seeds - 1)))  # 5, 6
                self._retract(compared)  # 7
                write_manifest(self._lake, new)  # 8
                self._forget_older_topics(announced, new)  # 9
            duration_s = time.monotonic() - started
            return Result(
                generation=new.generation,
                snapshot=None if self._options.is_dry else new.id,
                messages=made.messages,
                valid=made.valid,
                valid_before=made.valid_before,
                order="as they were counted before" if made.is_order_kept else _by_time(made.order_lost_because),
                lost=lost,
                duration_s=round(duration_s, 3),
                messages_per_s=round(made.messages / duration_s, 1),
                positions={str(source): end for source, end in sorted(positions.items())},
                notes=tuple(self._notes),
                views=tuple(each.change for each in compared.values()),
                roll_ups=roll_ups,
            )
        finally:
            recount.close()

    # ---- 1 ----

    def _newest(self) -> Manifest:
        found = generation.served(self._lake)
        if found is None:
            raise RebuildError(f"{self._lake.root} has no snapshot yet: `salesviews views` makes the first one.")
        return found

    # ---- 2 ----

    def _wait_for_bronze(
        self, wanted_ends: Mapping[SourcePartition, int]
    ) -> tuple[files.Listing, int, dict[SourcePartition, int]]:
        """The version of Bronze that is computed from, how many rows it has, and the positions that it covers."""
        deadline = time.monotonic() + self._options.wait_s
        while True:
            handle = self._lake.open(lake.BRONZE)
            listed = files.of_handle(handle, lake.BRONZE)
            sources = _sources(self._lake, listed) | wanted_ends.keys()
            covered = {source: handle.transaction_version(stream_name(source)) or 0 for source in sources}
            behind = {source: (covered[source], end) for source, end in wanted_ends.items() if covered[source] < end}
            if not behind:
                return listed, handle.count(), covered
            if time.monotonic() >= deadline:
                source, (has, wanted) = min(behind.items())
                told = (
                    f"Bronze covers {source} up to {has}, the figures cover it up to {wanted}"
                    f"{f' (and {len(behind) - 1} more partitions)' if len(behind) > 1 else ''}"
                )
                if self._options.accepts_loss:
                    self._notes.append(f"{told}: what only the figures have counts no more, `{event.PERDU}` included.")
                    self._goes_back = True
                    return listed, handle.count(), covered
                raise RebuildError(
                    f"{told}: what is computed from it would go back. Ingest has not committed yet, or Bronze was "
                    "deleted: run `salesviews ingest`, or `salesviews replay`, and then the rebuild again. Where Kafka "
                    "has these messages no more, and no backup of Bronze has them, `salesviews rebuild --accept-loss` "
                    "goes on without them."
                )
            time.sleep(_POLL_S)

    # ---- 3 ----

    def _note_horizon(self, announced: Manifest) -> None:
        before, now = definition.dedup_days(announced.definition), self._settings.dedup_days
        if announced.tables and before not in (None, now):
            self._notes.append(
                f"An id is remembered for {now} days now, and was for {before}: ingest and views must have "
                f"SALESVIEWS_DEDUP_DAYS={now} too."
            )

    def _check_bronze(self, made: Regeneration) -> None:
        """Refuse a Bronze that lacks what was counted; where that is not known, say what it may lack."""
        if made.gone:
            told = f"Bronze lacks {made.gone:,} messages that the figures know, the first at {made.first_gone}"
            if not self._options.accepts_loss:
                raise RebuildError(
                    f"{told}: computed from it, the figures would lose them. Run `salesviews replay`, which fills "
                    "Bronze from Kafka, and then the rebuild again. Where Kafka has them no more, and no backup of "
                    "Bronze has them, `salesviews rebuild --accept-loss` goes on without them."
                )
            self._notes.append(f"{told}: they count no more.")
        elif made.without_row and not made.is_order_kept:
            self._notes.append(
                f"Bronze has no message at {made.without_row:,} positions that it covers. Transactions, compaction "
                "and retention leave such positions in Kafka. If rows of Bronze were lost, `salesviews replay` fills "
                "them: run it first."
            )

    def _compare(self, made: Regeneration, announced: Manifest) -> tuple[int, dict[views.View, changes.Compared]]:
        lost = 0
        compared = {}
        for view in views.VIEWS:
            before = self._old_rows(lake.of_view(view), announced)
            if view is views.QUALITE and before is not None and not self._goes_back:
                lost = made.keep_lost(before)
            compared[view] = changes.compare(view, before, made.view(view), self._options.shown)
        return lost, compared

    def _compare_roll_ups(self, made: Regeneration, announced: Manifest) -> tuple[changes.ViewChange, ...]:
        """After the views, as what Kafka lost is taken over with them. A roll-up may be all that a program changes."""
        return tuple(
            changes.compare(
                roll_up,
                self._old_rows(lake.of_roll_up(roll_up), announced),
                made.roll_up(roll_up),
                self._options.shown,
            ).change
            for roll_up in views.ROLL_UPS
        )

    def _old_rows(self, table: Table, announced: Manifest) -> pa.Table | None:
        if table.name not in announced.tables:
            return None
        try:
            return files.stored_rows(self._lake, announced.listing(self._lake, table))
        except LakeError as error:
            self._notes.append(f"The old {table.name} is not compared: {error}")
            return None

    # ---- 4 ----

    def _prepare_topics(self, made: Regeneration, announced: Manifest, new: Manifest) -> int:
        """How many seeds there are: the total order of what is counted from now on begins after them."""
        self._check_is_newest(announced)
        positions = made.positions(new.positions).to_state()
        return self._kafka.begin(new.generation, positions, made.sums(), new.positions)

    # ---- 5, 6 ----

    def _write(self, made: Regeneration, announced: Manifest, new: Manifest) -> Manifest:
        versions: dict[str, int] = {}
        named = {}
        tables = [(lake.of_view(view), made.view(view)) for view in views.VIEWS]
        tables += [(lake.of_roll_up(roll_up), made.roll_up(roll_up)) for roll_up in views.ROLL_UPS]
        for table, rows in tables:  # 5
            handle = self._overwrite(table, partial(_same, rows), {WRITER: -new.id})
            versions[table.name] = handle.version()
            named[table.name] = named_files(self._lake, handle, table, ())
        for table, read in ((lake.CLEAN, made.clean), (lake.REJECTED, made.rejected)):  # 6
            self._check_is_newest(announced)
            streams = {append_stream(table, announced.generation): CLOSED, append_stream(table, new.generation): 0}
            versions[table.name] = self._overwrite(table, read, streams).version()
        return replace(new, created_at=self._clock(), tables=versions, files=named)

    def _check_is_newest(self, announced: Manifest) -> None:
        if self._lake.open(lake.SNAPSHOTS).version() != announced.id:
            raise FencedError("Another rebuild was announced after this one, which ends: nothing was replaced.")

    def _overwrite(self, table: Table, read: Callable[[], Any], transactions: dict[str, int]) -> Any:
        """Write all of a table. A commit of the old generation may land in between: then it is written again."""
        is_appended = table in (lake.CLEAN, lake.REJECTED)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                handle = (
                    self._lake.open_to_rewrite(table, self._clock()) if is_appended else self._lake.open(table)
                )  # `salesviews maintain` compacts what is appended to
                overwrite(handle, table, read(), transactions, writer=writer_properties(table))
            except (FencedError, CommitFailedError) as error:
                if attempt == _ATTEMPTS:
                    raise
                _log.info("%s is written again: %s", table.name, error)
            else:
                _log.info("%s is written", table.name)
                return handle
        raise AssertionError

    # ---- 7 ----

    def _retract(self, compared: dict[views.View, changes.Compared]) -> None:
        """Not before 6: a generation that is given up has retracted nothing. A rebuild after a crash repeats it."""
        removed = {view: each.removed_keys for view, each in compared.items() if view.kept is views.Kept.IN_WINDOWS}
        self._kafka.retract(removed)

    # ---- 9 ----

    def _forget_older_topics(self, announced: Manifest, new: Manifest) -> None:
        try:
            deleted = self._kafka.forget_older(new.generation, announced.generation)
        except BrokerError as error:
            self._notes.append(f"The new figures are served. {error}")
        else:
            if deleted:
                _log.info("Topics of older generations are deleted: %s", ", ".join(deleted))


def _same(rows: pa.Table) -> pa.Table:
    return rows


def _by_time(reason: str) -> str:
    return f"by Kafka's timestamps, as the one before is lost: {reason}"


def _sources(target: Lake, bronze: files.Listing) -> set[SourcePartition]:
    if not bronze.files:
        return set()
    with duckdb.connect() as connection:
        connection.register("bronze", files.dataset(target, bronze))
        found = connection.execute("SELECT DISTINCT topic_id, partition, topic FROM bronze").fetchall()
    return {SourcePartition(*each) for each in found}
