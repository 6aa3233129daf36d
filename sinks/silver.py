"""The Silver sink: sales that count, rejections, views, roll-ups, and the manifest that makes them one snapshot.

A checkpoint is not a snapshot. A checkpoint appends what its takes brought (``flush``), before Kafka commits the sums
and the position that go with it; it is small, and comes often. A snapshot (``snapshot``) is work of its own between
checkpoints, in pieces: it writes the rows of views that changed since the one before, as of a checkpoint that Kafka has
committed. What it owes after a crash is named by the typed batches beyond the manifest's sequence.

What a failure does: the process ends. Before Kafka's commit, its successor takes the same typed batches again, in takes
that may be cut differently, and appends skip what is there; after it, the successor writes the snapshot that is owed.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from quixstreams.sinks import BaseSink

from salesviews import definition, lake, manifest
from salesviews.errors import FencedError, GapError, LakeError, StateError
from salesviews.lake import Lake, Table
from salesviews.manifest import DataFile, Manifest
from salesviews.tables import files
from salesviews.typed import SourcePartition
from salesviews.view_rows import ViewRows, newest
from salesviews.views import ROLL_UPS, SALES_FIELDS, VIEWS, Kept, Source, View, kept
from sinks.accumulation import Accumulation
from sinks.appends import Stream, append_once, covered
from sinks.contents import Contents, Month, months_sql
from sinks.overwrites import WRITER, append_stream, fenced, named_files, overwrite, write_manifest

_log = logging.getLogger(__name__)

APPENDED = (lake.CLEAN, lake.REJECTED)


@dataclass(frozen=True)
class Take:
    """What a take of typed batches adds.

    :param clean: rows of ``lake.CLEAN``, in order of their sequence
    :param rejected: rows of ``lake.REJECTED``, likewise
    :param sequence: the last place in the total order that the take covers
    :param positions: where each source partition stands after it
    :param caught_up: nothing was known to be waiting then
    :param changed: the rows of views that it touched, as they are after it
    """

    clean: pa.Table
    rejected: pa.Table
    sequence: int
    positions: Mapping[SourcePartition, int]
    caught_up: bool
    changed: Sequence[ViewRows] = ()


@dataclass(frozen=True)
class Reached:
    """What is counted by the last checkpoint that Kafka has committed: the values of a ``Take``."""

    sequence: int
    positions: Mapping[SourcePartition, int]
    caught_up: bool


class Publisher(Protocol):
    """Hands the rows of snapshots on, within the checkpoint that is being made."""

    def publish(self, rows: ViewRows) -> None:
        """Hand on rows as they are."""
        ...

    def finish(self, sequence: int) -> None:
        """Note that all rows of snapshots up to a sequence were handed on."""
        ...


class SilverSink(BaseSink):
    """Appends what takes bring, and writes snapshots of what checkpoints have committed.

    Only one process writes Silver at a time, the one that Kafka gave the typed batches to; one that lost them without
    knowing finds a manifest that is not its own, and ends.

    :param clock: the time that a manifest names
    :param mine: the generation of the figures of which the takes are
    :param dedup_days: for how many days the ids of their sales are remembered
    :param publisher: gets the rows of snapshots, some in each checkpoint
    :param published_rows: so many in each
    """

    def __init__(
        self,
        target: Lake,
        clock: Callable[[], datetime],
        mine: int,
        dedup_days: int,
        publisher: Publisher,
        published_rows: int,
    ) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._lake = target
        self._clock = clock
        self._generation = mine
        self._dedup_days = dedup_days
        self._publisher = publisher
        self._published_rows = published_rows
        self._definition = definition.of(dedup_days)
        self._takes: list[Take] = []
        self._is_flushed = False
        self._reached: Reached | None = None
        self._changes: dict[str, list[ViewRows]] = defaultdict(list)
        self._unpublished: list[ViewRows] = []
        self._publishing: int | None = None
        self._contents: Contents | None = None
        self._accumulation = Accumulation()
        self._manifest: Manifest
        self._recorded: dict[str, int | None] = {}
        self._files: dict[str, tuple[DataFile, ...]] = {}

    def setup(self) -> None:
        """Create the tables, and a first manifest where there is none, so that an empty system can be read."""
        for table in (*lake.SILVER, lake.SNAPSHOTS):
            self._lake.create(table)
        found = manifest.read(self._lake)
        if found is not None and not (found.is_empty and found.definition != self._definition):
            return
        handles = {table.name: self._lake.open(table) for table in lake.SILVER}
        number, generation = (1, 0) if found is None else (found.id + 1, found.generation)
        try:
            self._write_manifest(
                Manifest(
                    id=number,
                    created_at=self._clock(),
                    generation=generation,
                    sequence=manifest.EMPTY_SEQUENCE,
                    positions={},
                    caught_up=False,
                    tables={name: handle.version() for name, handle in handles.items()},
                    definition=self._definition,
                    files={
                        table.name: named_files(self._lake, handles[table.name], table, ())
                        for table in lake.OVERWRITTEN
                    },
                )
            )
        except FencedError:
            _log.info("another process made the first manifest")

    # ---- Checkpoints ----

    def begin(self, reached: Reached, appended: Mapping[str, int]) -> int:
        """Go on from what Kafka has committed, before the first take.

        :param appended: for each appended table, by name, the last sequence that brought it rows
        :return: the sequence of the newest manifest: rows of views that changed since are owed to the next snapshot
        :raises GapError: if an appended table does not have what was counted
        :raises FencedError: if the newest manifest is of another generation
        """
        self._manifest = self._ours()
        for table in APPENDED:
            has = covered(self._lake, table, append_stream(table, self._generation))
            if (wanted := appended.get(table.name, manifest.EMPTY_SEQUENCE)) >= (has or 0):
                raise GapError(
                    f"{table.name} in {self._lake.root} covers the total order up to {(has or 0) - 1}, but rows up to "
                    f"{wanted} were counted: what is between would be missing from it. Was Silver deleted or restored? "
                    "`salesviews rebuild` computes it again from Bronze."
                )
        self._reached = reached
        return self._manifest.sequence

    def add(self, value: Take, **_message: Any) -> None:  # type: ignore[override] # it is all in the value
        self._takes.append(value)

    def owe(self, rows: Sequence[ViewRows]) -> None:
        """Rows of views, as they are, that a former process touched, and of which no snapshot may have been written."""
        for each in rows:
            self._changes[each.view.name].append(each)

    def flush(self) -> None:
        """What a checkpoint writes before Kafka commits it.

        1. Append the sales that count, then the rejections, each with their sequence in the commit.
        2. Produce rows of the last snapshot for the ``vues-`` topics.

        A crash after 1, before Kafka's transaction, repeats takes whose rows the tables have: they are dropped. What 2
        produced is of the transaction that was not committed.

        :raises FencedError: if another generation has taken over
        """
        if self._takes:
            self._check_manifest_is_ours()
            self._append(lake.CLEAN, [take.clean for take in self._takes], self._takes[-1].sequence)
            self._append(lake.REJECTED, [take.rejected for take in self._takes], self._takes[-1].sequence)  # 1
        left = self._published_rows
        while self._unpublished and left > 0:
            rows = self._unpublished.pop()
            if len(rows) > left:
                self._unpublished.append(rows.part(left, len(rows)))
                rows = rows.part(0, left)
            self._publisher.publish(rows)  # 2
            left -= len(rows)
        if self._publishing is not None and not self._unpublished:
            self._publisher.finish(self._publishing)
            self._publishing = None
        self._is_flushed = True

    def committed(self) -> bool:
        """Say that Kafka has committed the checkpoint of the last flush. Whether there was one since the last call."""
        if not self._is_flushed:
            return False
        for take in self._takes:
            self._reached = Reached(take.sequence, take.positions, take.caught_up)
            for rows in take.changed:
                if len(rows):
                    self._changes[rows.view.name].append(rows)
        self._takes, self._is_flushed = [], False
        return True

    # ---- Snapshots ----

    @property
    def has_uncommitted(self) -> bool:
        """There are takes since the last checkpoint."""
        return bool(self._takes)

    @property
    def is_publishing(self) -> bool:
        """The ``vues-`` topics do not have all rows of the last snapshot."""
        return self._publishing is not None

    @property
    def waiting_rows(self) -> int:
        """Rows of views that the next snapshot brings; several times where they changed several times."""
        return sum(len(rows) for parts in self._changes.values() for rows in parts)

    @property
    def is_owed(self) -> bool:
        """What is committed is more than what the newest manifest covers."""
        return self._reached is not None and (self._reached.sequence > self._manifest.sequence or bool(self._changes))

    def snapshot(self) -> Iterator[None]:
        """Write a snapshot of what Kafka has committed by now; more may be taken and committed meanwhile.

        0. Once, before the first snapshot: go back to the newest manifest (``_open``).
        1. Overwrite the months of the views that changed. To those that are kept in Silver it adds the sales that the
           manifest does not cover.
        2. Overwrite the roll-ups of those months.
        3. Overwrite the manifest: the snapshot exists.
        4. The rows that changed are ready to be produced, with the next checkpoints.

        It comes back after each piece. A crash in 0 to 2 leaves versions that no manifest names: the next process goes
        back to the manifest's. A crash after 3 leaves rows unpublished: the next process publishes them, and a
        snapshot that covers them already is none.

        :raises FencedError: if another process has written a snapshot or a view table meanwhile
        """
        reached, parts, self._changes = self._reached, self._changes, defaultdict(list)
        assert reached is not None, "begin() comes first"
        changes = {name: newest(rows) for name, rows in parts.items()}
        if reached.sequence > self._manifest.sequence:
            if self._contents is None:
                self._contents = yield from self._open()  # 0
            yield from self._write(reached, changes, self._contents)  # 1 to 3
        self._unpublished, self._publishing = [*changes.values()], reached.sequence  # 4

    def _write(self, reached: Reached, changes: Mapping[str, ViewRows], contents: Contents) -> Iterator[None]:
        self._check_manifest_is_ours()
        versions = dict(self._manifest.tables)
        versions |= {table.name: int(self._lake.open(table).version()) for table in APPENDED}
        months: dict[str, list[Month]] = {}
        sales, rejected = (
            files.Between.of(self._lake, table, self._manifest.sequence, reached.sequence) for table in APPENDED
        )
        counted = {Source.SALES: sales.count()}
        counted[Source.MESSAGES] = counted[Source.SALES] + rejected.count()
        yield
        for view in VIEWS:
            table = lake.of_view(view)
            if view.kept is Kept.IN_SILVER and counted[Source.SALES]:
                with sales.reader((*SALES_FIELDS, "montant")) as reader:
                    accumulated = self._accumulation.add(view, reader, partial(self._held, table))
                yield
                months[view.name], rows = accumulated.months, iter([(accumulated.months, accumulated.rows)])
            elif view.name in changes:
                put = contents.put(changes[view.name])
                self._check_gained(view, put.gained, counted[view.source])
                yield
                months[view.name] = put.months
                pieces = contents.pieces(view, put.months)
                rows = ((piece, contents.of_view(view, piece)) for piece in pieces)
            else:
                continue
            for of_months, each in rows:
                versions[table.name] = self._overwrite(table, each, of_months, reached.sequence)
                yield
        for roll_up in ROLL_UPS:
            if changed_months := months.get(roll_up.view.name):
                table = lake.of_roll_up(roll_up)
                rows_of_months = contents.of_roll_up(roll_up, changed_months)
                versions[table.name] = self._overwrite(table, rows_of_months, changed_months, reached.sequence)  # 2
                yield
        self._write_manifest(  # 3
            Manifest(
                id=self._manifest.id + 1,
                created_at=self._clock(),
                generation=self._manifest.generation,
                sequence=reached.sequence,
                positions={**self._manifest.positions, **reached.positions},
                caught_up=reached.caught_up,
                tables=versions,
                files=dict(self._files),
                definition=self._definition,
            )
        )

    def _ours(self) -> Manifest:
        """The newest manifest.

        :raises FencedError: if it is not of the generation whose typed batches are counted
        """
        found = manifest.read(self._lake)
        if found is None:
            raise FencedError(f"The manifest at {self._lake.uri(lake.SNAPSHOTS)} is gone since this process started.")
        found.check_definition(self._dedup_days)
        if found.generation != self._generation:
            raise FencedError(
                f"Generation {found.generation} of the figures has replaced {self._generation}, whose typed batches "
                f"this process counts. It ends; the next one works for generation {found.generation}."
            )
        if found.successor is not None:
            raise FencedError(
                f"Generation {found.successor} of the figures is being computed: nothing is added to this."
            )
        return found

    def _open(self) -> Generator[None, None, Contents]:
        """Take the newest manifest as what is true; it is the one that this process began with.

        1. Put back each overwritten table that is not at the manifest's version: an interrupted snapshot wrote it. It
           then must have the files that the manifest names: what is not written again is carried on from there.
        2. Load the contents of the manifest's files.
        3. The appended tables must have a row for each message that the contents count.

        A crash in between leaves tables at other versions again, with the same contents: it is repeated.
        """
        self._check_manifest_is_ours()
        found = self._manifest
        for table in lake.OVERWRITTEN:
            handle = self._lake.open(table)
            if handle.version() != found.tables[table.name]:
                _log.info("%s goes back from version %d to %d", table.name, handle.version(), found.tables[table.name])
                self._restore(handle, table, found.tables[table.name])
            self._recorded[table.name] = handle.transaction_version(WRITER)
            self._files[table.name] = named_files(self._lake, handle, table, found.files.get(table.name, ()))
            if table.name in found.files and set(self._files[table.name]) != set(found.files[table.name]):
                raise LakeError(
                    f"The log of {table.name} in {self._lake.root} names other files at version {handle.version()} "
                    f"than snapshot {found.id} does: its _delta_log is damaged. `salesviews rebuild` computes Silver "
                    "again from Bronze."
                )
            yield
        contents = Contents()
        for view in kept(Kept.IN_WINDOWS):
            contents.load(self._lake, found, view)
            yield
        self._check_appended(found, contents)
        return contents

    def _restore(self, handle: DeltaTable, table: Table, version: int) -> None:
        try:
            handle.restore(version)
        except CommitFailedError as error:
            raise fenced(table, f"did not go back to version {version}: {error}") from error
        except DeltaError as error:
            raise LakeError(
                f"{table.name} in {self._lake.root} cannot go back to version {version}, which the newest snapshot "
                f"names: {error}. Its _delta_log is damaged: `salesviews rebuild` computes Silver again from Bronze."
            ) from error

    def _check_appended(self, found: Manifest, contents: Contents) -> None:
        """:raises LakeError: if rows are missing that the snapshot covers, as their files or log entries are lost"""
        valid, others = contents.outcomes()
        for table, counted in ((lake.CLEAN, valid), (lake.REJECTED, others)):
            covered = pc.field("sequence") <= found.sequence
            listed = files.listing(self._lake, table)
            try:
                held = files.dataset(self._lake, listed).count_rows(filter=covered)
            except (OSError, pa.ArrowException) as error:
                raise files.find_unreadable(self._lake, listed, error) or error from error
            if held != counted:
                raise LakeError(
                    f"{table.name} in {self._lake.root} has {held:,} rows of the {counted:,} that snapshot {found.id} "
                    "counts: files or entries of its _delta_log are lost. `salesviews rebuild` computes Silver again "
                    "from Bronze."
                )

    def _check_gained(self, view: View, gained: int | None, counted: int) -> None:
        """:raises StateError: if a view does not gain what the takes have: the state that has its sums is another's"""
        if gained not in (None, counted):
            raise StateError(
                f"The state of views gives {view.name} {gained:,} {view.source.value} more than snapshot "
                f"{self._manifest.id} has, but {counted:,} came since: nothing of it is served. Delete the state "
                "folder of views: all of it comes back from Kafka. Where this comes again, its changelog is lost or "
                "another's: `salesviews rebuild` computes the figures again from Bronze."
            )

    def _check_manifest_is_ours(self) -> None:
        version = self._lake.open(lake.SNAPSHOTS).version()
        if version != self._manifest.id:
            self._ours()
            raise fenced(lake.SNAPSHOTS, f"is at version {version}, this process knows {self._manifest.id}")

    def _held(self, table: Table, months: Sequence[Month]) -> pa.Table:
        """The rows of the manifest's version of a table in some months."""
        return files.rows(self._lake, self._manifest.listing(self._lake, table), months)

    def _append(self, table: Table, rows: list[pa.Table], sequence: int) -> None:
        if sum(map(len, rows)):
            name = append_stream(table, self._generation)
            append_once(self._lake, table, [Stream(name, pa.concat_tables(rows), "sequence", sequence + 1)])

    def _overwrite(self, table: Table, rows: pa.Table, months: list[Month], sequence: int) -> int:
        """Overwrite the months of a table (all of it where it has none). Gives the new version."""
        handle = self._lake.open(table)
        recorded = handle.transaction_version(WRITER)
        if recorded != self._recorded[table.name]:
            raise fenced(table, f"shows sequence {recorded}, this process wrote {self._recorded[table.name]}")
        predicate = months_sql(months) if table.partition_by else None
        self._commit(handle, table, rows, sequence, predicate)
        self._recorded[table.name] = sequence
        self._files[table.name] = named_files(self._lake, handle, table, self._files[table.name])
        return int(handle.version())

    def _write_manifest(self, new: Manifest) -> None:
        write_manifest(self._lake, new)
        self._manifest = new

    def _commit(self, handle: DeltaTable, table: Table, rows: pa.Table, sequence: int, predicate: str | None) -> None:
        overwrite(handle, table, rows, {WRITER: sequence}, predicate=predicate)
