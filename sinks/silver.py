"""The Silver sink: sales that count, rejections, views, roll-ups, and the manifest that makes them one snapshot.

When it is called: ``add`` for each take of typed batches and for each changed sum of a view; ``flush`` first thing in a
checkpoint, outside of its Kafka transaction. What a failure does: the Kafka transaction is not committed and the
process ends; its successor takes the same typed batches again, in takes that may be cut differently, and comes to the
same rows.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

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
from salesviews.views import ROLL_UPS, VIEWS, Kept, Source, View
from sinks.accumulation import Accumulation
from sinks.appends import Stream, append_once
from sinks.contents import Change, Contents, Month, months_sql
from sinks.overwrites import WRITER, append_stream, fenced, named_files, overwrite, write_manifest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Take:
    """What a take of typed batches adds.

    :param clean: rows of ``lake.CLEAN``, in order of their sequence
    :param rejected: rows of ``lake.REJECTED``, likewise
    :param first_sequence: the first place in the total order that the take covers
    :param sequence: the last one
    :param positions: where each source partition stands after it
    :param caught_up: nothing was known to be waiting then
    """

    clean: pa.Table
    rejected: pa.Table
    first_sequence: int
    sequence: int
    positions: Mapping[SourcePartition, int]
    caught_up: bool


@dataclass(frozen=True)
class ViewChange:
    view: View
    change: Change


_Place: TypeAlias = tuple[tuple[str, ...], int]
"""A key and a window's start."""


class SilverSink(BaseSink):
    """Gathers takes and changes, and writes one snapshot a checkpoint.

    Only one process writes Silver at a time, the one that Kafka gave the typed batches to; one that lost them without
    knowing finds a manifest that is not its own, and ends.

    :param clock: the time that a manifest names
    :param mine: the generation of the figures of which the takes are
    :param dedup_days: for how many days the ids of their sales are remembered
    """

    def __init__(self, target: Lake, clock: Callable[[], datetime], mine: int, dedup_days: int) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._lake = target
        self._clock = clock
        self._generation = mine
        self._dedup_days = dedup_days
        self._definition = definition.of(dedup_days)
        self._takes: list[Take] = []
        self._changes: dict[str, dict[_Place, Change]] = defaultdict(dict)
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

    def add(self, value: Take | ViewChange, **_message: Any) -> None:  # type: ignore[override] # it is all in the value
        if isinstance(value, Take):
            self._takes.append(value)
        else:
            self._changes[value.view.name][value.change.key, value.change.start_ms] = value.change

    def flush(self) -> None:
        """Write a snapshot of everything up to the last take.

        0. Once, before the first snapshot: go back to the newest manifest (``_open``).
        1. Append the sales that count, then the rejections, each with their sequence in the commit.
        2. Overwrite the months of the views that changed. To those that are kept in Silver it adds the sales that the
           manifest does not cover.
        3. Overwrite the roll-ups of those months.
        4. Overwrite the manifest: the snapshot exists.

        A crash in 1 to 3 leaves rows and versions that no manifest names: the next process goes back to the manifest's
        versions, and the appends skip what is there. A crash after 4, before Kafka's transaction, repeats takes that
        the manifest covers: they are dropped here, and change nothing.

        :raises FencedError: if another process has written a snapshot or a view table meanwhile
        """
        takes, self._takes = self._takes, []
        changes, self._changes = self._changes, defaultdict(dict)
        if not takes:
            return
        contents = self._contents or self._open(takes[0].first_sequence)
        last = takes[-1]
        if last.sequence <= self._manifest.sequence:
            self._check_covered(last)
            _log.info("snapshot %d covers these %d takes already", self._manifest.id, len(takes))
            return
        self._check_manifest_is_ours()

        versions = dict(self._manifest.tables)
        versions[lake.CLEAN.name] = self._append(lake.CLEAN, [take.clean for take in takes], last.sequence)
        versions[lake.REJECTED.name] = self._append(lake.REJECTED, [take.rejected for take in takes], last.sequence)
        months: dict[str, list[Month]] = {}
        sales = pa.concat_tables([take.clean for take in takes])
        sales = sales.filter(pc.field("sequence") > self._manifest.sequence)
        rejected = pa.concat_tables([take.rejected for take in takes])
        rejected = rejected.filter(pc.field("sequence") > self._manifest.sequence)
        counted = {Source.SALES: sales.num_rows, Source.MESSAGES: sales.num_rows + rejected.num_rows}
        for view in VIEWS:
            table = lake.of_view(view)
            if view.kept is Kept.IN_SILVER and sales.num_rows:
                accumulated = self._accumulation.add(view, sales, partial(self._held, table))
                months[view.name], rows = accumulated.months, accumulated.rows
            elif changes[view.name]:
                put = contents.put(view, list(changes[view.name].values()))
                self._check_gained(view, put.gained, counted[view.source])
                months[view.name], rows = put.months, contents.of_view(view, put.months)
            else:
                continue
            versions[table.name] = self._overwrite(table, rows, months[view.name], last.sequence)
        for roll_up in ROLL_UPS:
            if changed_months := months.get(roll_up.view.name):
                table = lake.of_roll_up(roll_up)
                rows = contents.of_roll_up(roll_up, changed_months)
                versions[table.name] = self._overwrite(table, rows, changed_months, last.sequence)
        self._write_manifest(
            Manifest(
                id=self._manifest.id + 1,
                created_at=self._clock(),
                generation=self._manifest.generation,
                sequence=last.sequence,
                positions={**self._manifest.positions, **last.positions},
                caught_up=last.caught_up,
                tables=versions,
                files=dict(self._files),
                definition=self._definition,
            )
        )

    def _open(self, first_sequence: int) -> Contents:
        """Take the newest manifest as what is true.

        1. Read the manifest; it must be of the generation whose typed batches are counted, and cover all that was
           counted before the first take.
        2. Put back each overwritten table that is not at the manifest's version: an interrupted checkpoint wrote it. It
           then must have the files that the manifest names: what is not written again is carried on from there.
        3. Load the contents of the manifest's files.
        4. The appended tables must have a row for each message that the contents count.

        A crash in between leaves tables at other versions again, with the same contents: it is repeated.
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
        if found.sequence < first_sequence - 1:
            raise GapError(
                f"Snapshot {found.id} in {self._lake.root} covers the total order up to {found.sequence}, but counting "
                f"goes on at {first_sequence}: what is between would be missing from it. Was Silver deleted or "
                "restored? `salesviews rebuild` computes it again from Bronze."
            )
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
        contents = Contents()
        contents.load(self._lake, found)
        self._check_appended(found, contents)
        self._manifest, self._contents = found, contents
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

    def _check_covered(self, last: Take) -> None:
        """What a snapshot covers by its place in the total order, it must cover by its positions too."""
        for source, position in last.positions.items():
            if position > (covered := self._manifest.positions.get(source, 0)):
                raise GapError(
                    f"The typed batches bring {source} to position {position} at a place in the total order that "
                    f"snapshot {self._manifest.id} has already, with {covered} positions. Was their topic deleted and "
                    "created again? `salesviews rebuild` computes the figures again from Bronze."
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
            raise fenced(lake.SNAPSHOTS, f"is at version {version}, this process knows {self._manifest.id}")

    def _held(self, table: Table, months: Sequence[Month]) -> pa.Table:
        """The rows of the manifest's version of a table in some months."""
        return files.rows(self._lake, self._manifest.listing(self._lake, table), months)

    def _append(self, table: Table, rows: list[pa.Table], sequence: int) -> int:
        if sum(map(len, rows)):
            name = append_stream(table, self._manifest.generation)
            stream = Stream(name, pa.concat_tables(rows), "sequence", sequence + 1)
            append_once(self._lake, table, [stream])
        return int(self._lake.open(table).version())

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
