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

A crash before 8 leaves the old figures served and views waiting: run it again, or, before 6, give it up (``abandon``).
What is refused, fails or is interrupted before 6 withdraws its announcement, and the old generation goes on. A second
rebuild announces anew, and the first one then fails in 6 or 8: it is not the newest manifest that it follows. What a
crash before 9 leaves, the next rebuild deletes.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError

from processors.generation_topics import GenerationTopics
from processors.rebuild_result import Result
from processors.regeneration import Regeneration
from salesviews import definition, event, lake, manifest, typed, views
from salesviews.audit import changes
from salesviews.audit.recount import Recount
from salesviews.errors import BrokerError, FencedError, LakeError, RebuildError, SalesviewsError
from salesviews.lake import Lake, Table
from salesviews.maintenance.history import Shelf
from salesviews.manifest import Manifest
from salesviews.settings import Settings
from salesviews.tables import files
from salesviews.typed import SourcePartition
from sinks.appends import writer_properties
from sinks.bronze import stream_name
from sinks.overwrites import GENERATION, WRITER, append_stream, named_files, overwrite, write_manifest

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_TELL_S = 5.0
_ATTEMPTS = 5
CLOSED = 1 << 62
"""What a stream that takes nothing more says that it covers."""


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


def abandon(target: Lake, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Manifest:
    """Give up a rebuild that was interrupted: the old generation goes on.

    :raises RebuildError: if there is none, or the old generation cannot go on
    """
    found = manifest.read(target)
    if found is None or found.successor is None:
        raise RebuildError(f"No rebuild is under way in {target.root}: there is nothing to abandon.")
    if not found.tables:
        raise RebuildError(
            f"There were no figures in {target.root} before the rebuild: no generation can go on. Run `salesviews "
            "rebuild` again."
        )
    for table in (lake.CLEAN, lake.REJECTED):
        stream = append_stream(table, found.generation)
        if target.open(table).transaction_version(stream) == CLOSED:
            raise RebuildError(
                f"The rebuild has replaced {table.name} already: generation {found.generation} cannot go on. "
                "Run `salesviews rebuild` again: it comes to its end."
            )
    kept = replace(found, id=found.id + 1, created_at=clock(), successor=None, files=_of_overwritten(found))
    write_manifest(target, kept)
    return kept


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
        self._served: Mapping[SourcePartition, int] = {}
        """What was covered by figures whose manifest cannot be read any more."""

    def run(self) -> Result:
        announced = self._newest() if self._options.is_dry else self._announce()  # 1
        try:
            return self._replace(announced)
        except (Exception, KeyboardInterrupt):
            if not self._options.is_dry:
                self._withdraw(announced)
            raise

    def _replace(self, announced: Manifest) -> Result:
        started = time.monotonic()
        bronze, total, positions = self._wait_for_bronze(announced)  # 2
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
        found = manifest.read(self._lake) if self._lake.exists(lake.SNAPSHOTS) else None
        if found is None:
            raise RebuildError(f"{self._lake.root} has no snapshot yet: `salesviews views` makes the first one.")
        return found

    def _announce(self) -> Manifest:
        for table in (lake.BRONZE, *lake.SILVER, lake.SNAPSHOTS):
            self._lake.create(table)
        newest = self._topics(self._settings).newest()
        for _ in range(_ATTEMPTS):
            before = self._readable_manifest()
            announced = replace(
                before,
                id=self._lake.open(lake.SNAPSHOTS).version() + 1,
                created_at=self._clock(),
                caught_up=False,
                files={**before.files, **self._files_of_appended(before)},
                successor=max(before.generation, before.successor or 0, newest) + 1,
            )
            try:
                write_manifest(self._lake, announced)
            except FencedError:
                continue  # views wrote a snapshot in between
            _log.info(
                "Generation %d is announced; the figures of snapshot %d are served until it is complete",
                announced.successor,
                announced.id,
            )
            return announced
        raise RebuildError("The manifest moved on at each attempt to announce the rebuild. Run it again.")

    def _withdraw(self, announced: Manifest) -> None:
        """Let the old generation go on, unless its tables are replaced already, or another rebuild is announced."""
        try:
            if self._lake.open(lake.SNAPSHOTS).version() != announced.id:
                return
            abandon(self._lake, self._clock)
        except (SalesviewsError, DeltaError, OSError) as error:
            _log.warning("The announcement of the rebuild stays, and views waits. %s", error)
        else:
            _log.info("The announcement is withdrawn: generation %d goes on", announced.generation)

    def _readable_manifest(self) -> Manifest:
        """The newest manifest that can be read of the newest generation; one of empty figures where there is none.

        Where a later one cannot be read, the figures are older than those that were served, and are kept in their
        order. Bronze has to reach what was served all the same (``_served``): else the new figures would go back.
        """
        nothing = Manifest(0, self._clock(), 0, manifest.EMPTY_SEQUENCE, {}, False, {})
        try:
            return manifest.read(self._lake) or nothing
        except LakeError as error:
            generation = self._lake.open(lake.SNAPSHOTS).transaction_version(GENERATION) or 0
            found = self._earlier_manifest(generation)
            known = "not known" if found is None else f"those of snapshot {found.id}, the newest that can be read"
            self._notes.append(f"The old figures are {known}: {error}")
            return found or replace(nothing, generation=generation)

    def _earlier_manifest(self, generation: int) -> Manifest | None:
        """The newest kept manifest of a generation that can be read, with its sales as they are now."""
        shelf = Shelf(self._lake)
        try:
            kept = shelf.look().all
        except LakeError as error:
            self._notes.append(f"Nor are those before them: {error}")
            return None
        self._served = kept[-1].positions
        for each in kept[::-1]:
            if each.generation != generation:
                continue
            try:
                found = shelf.manifest(each)
            except LakeError as error:
                _log.info("snapshot %d is not what the rebuild begins with: %s", each.id, error)
                continue
            if found.tables:
                return self._with_sales_of_now(found)
        return None

    def _with_sales_of_now(self, found: Manifest) -> Manifest:
        """While its generation is appended to, the newest version has its rows; the one it names may be cleaned up."""
        versions = {}
        for table in (lake.CLEAN, lake.REJECTED):
            handle = self._lake.open(table)
            covered = handle.transaction_version(append_stream(table, found.generation))
            if covered is not None and found.sequence <= covered < CLOSED:
                versions[table.name] = handle.version()
        return replace(found, tables={**found.tables, **versions})

    def _files_of_appended(self, before: Manifest) -> dict[str, Any]:
        """The files of the append-only tables: this is the old generation's last snapshot, for time travel."""
        named = {}
        for table in (lake.CLEAN, lake.REJECTED):
            if table.name not in before.tables:
                continue
            try:
                handle = self._lake.open(table, before.tables[table.name])
                named[table.name] = named_files(self._lake, handle, table, before.files.get(table.name, ()))
            except (SalesviewsError, DeltaError, OSError) as error:
                self._notes.append(f"Snapshots of generation {before.generation} have no single sales: {error}")
        return named

    # ---- 2 ----

    def _wait_for_bronze(self, announced: Manifest) -> tuple[files.Listing, int, dict[SourcePartition, int]]:
        """The version of Bronze that is computed from, how many rows it has, and the positions that it covers."""
        deadline = time.monotonic() + self._options.wait_s
        wanted_ends = {**announced.positions, **self._served}
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
        return self._topics(self._settings).begin(new.generation, positions, made.sums(), new.positions)

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
        self._topics(self._settings).retract(removed)

    # ---- 9 ----

    def _forget_older_topics(self, announced: Manifest, new: Manifest) -> None:
        try:
            deleted = self._topics(self._settings).forget_older(new.generation, announced.generation)
        except BrokerError as error:
            self._notes.append(f"The new figures are served. {error}")
        else:
            if deleted:
                _log.info("Topics of older generations are deleted: %s", ", ".join(deleted))


def _of_overwritten(found: Manifest) -> dict[str, Any]:
    return {table.name: found.files[table.name] for table in lake.OVERWRITTEN if table.name in found.files}


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
