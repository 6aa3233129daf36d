"""The announcement of a generation to come: a manifest with the old figures that names it.

From then on views adds nothing to the old figures, and waits. It is withdrawn where the rebuild does not come to the
point at which it replaces sales, and can be given up where the rebuild was killed before it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from deltalake.exceptions import DeltaError

from salesviews import lake, manifest
from salesviews.errors import FencedError, LakeError, RebuildError, SalesviewsError
from salesviews.lake import Lake
from salesviews.maintenance.history import Shelf
from salesviews.manifest import Manifest
from salesviews.typed import SourcePartition
from sinks.overwrites import GENERATION, append_stream, named_files, write_manifest

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
CLOSED = 1 << 62
"""What a stream that takes nothing more says that it covers."""


@dataclass(frozen=True)
class Announcement:
    """
    :param manifest: the one that was written: the old figures, as far as they are known, and the generation to come
    :param served: what was covered by figures that were served; more than the manifest says where the newest of them
        cannot be read any more
    :param notes: what is not known of the old figures
    """

    manifest: Manifest
    served: Mapping[SourcePartition, int]
    notes: tuple[str, ...]


def announce(target: Lake, clock: Callable[[], datetime], newest: int) -> Announcement:
    """Write the announcement; the tables exist after it.

    :param newest: the highest generation that there ever was, as far as others than the manifest know
    :raises RebuildError: if other processes write manifests at each attempt
    """
    for table in (lake.BRONZE, *lake.SILVER, lake.SNAPSHOTS):
        target.create(table)
    for _ in range(_ATTEMPTS):
        before = _Before(target, clock)
        found = before.find()
        announced = replace(
            found,
            id=target.open(lake.SNAPSHOTS).version() + 1,
            created_at=clock(),
            caught_up=False,
            files={**found.files, **before.files_of_appended(found)},
            successor=max(found.generation, found.successor or 0, newest) + 1,
        )
        try:
            write_manifest(target, announced)
        except FencedError:
            continue  # views wrote a snapshot in between
        _log.info(
            "Generation %d is announced; the figures of snapshot %d are served until it is complete",
            announced.successor,
            announced.id,
        )
        return Announcement(announced, {**found.positions, **before.served}, tuple(before.notes))
    raise RebuildError("The manifest moved on at each attempt to announce the rebuild. Run it again.")


def withdraw(target: Lake, clock: Callable[[], datetime], announced: Manifest) -> None:
    """Let the old generation go on, unless its tables are replaced already, or another rebuild is announced."""
    try:
        if target.open(lake.SNAPSHOTS).version() != announced.id:
            return
        abandon(target, clock)
    except (SalesviewsError, DeltaError, OSError) as error:
        _log.warning("The announcement of the rebuild stays, and views waits. %s", error)
    else:
        _log.info("The announcement is withdrawn: generation %d goes on", announced.generation)


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
    named = {table.name: found.files[table.name] for table in lake.OVERWRITTEN if table.name in found.files}
    kept = replace(found, id=found.id + 1, created_at=clock(), successor=None, files=named)
    write_manifest(target, kept)
    return kept


class _Before:
    """The figures before a rebuild, as far as they can be read."""

    def __init__(self, source: Lake, clock: Callable[[], datetime]) -> None:
        self._lake = source
        self._clock = clock
        self.served: Mapping[SourcePartition, int] = {}
        """What was covered by figures whose manifest cannot be read any more."""
        self.notes: list[str] = []

    def find(self) -> Manifest:
        """The newest manifest that can be read of the newest generation; one of empty figures where there is none.

        Where a later one cannot be read, the figures are older than those that were served, and are kept in their
        order. Bronze has to reach what was served all the same: else the new figures would go back.
        """
        nothing = Manifest(0, self._clock(), 0, manifest.EMPTY_SEQUENCE, {}, False, {})
        try:
            return manifest.read(self._lake) or nothing
        except LakeError as error:
            generation = self._lake.open(lake.SNAPSHOTS).transaction_version(GENERATION) or 0
            found = self._earlier(generation)
            known = "not known" if found is None else f"those of snapshot {found.id}, the newest that can be read"
            self.notes.append(f"The old figures are {known}: {error}")
            return found or replace(nothing, generation=generation)

    def _earlier(self, generation: int) -> Manifest | None:
        """The newest kept manifest of a generation that can be read, with its sales as they are now."""
        shelf = Shelf(self._lake)
        try:
            kept = shelf.look().all
        except LakeError as error:
            self.notes.append(f"Nor are those before them: {error}")
            return None
        self.served = kept[-1].positions
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

    def files_of_appended(self, found: Manifest) -> dict[str, Any]:
        """The files of the append-only tables: this is the old generation's last snapshot, for time travel."""
        named = {}
        for table in (lake.CLEAN, lake.REJECTED):
            if table.name not in found.tables:
                continue
            try:
                handle = self._lake.open(table, found.tables[table.name])
                named[table.name] = named_files(self._lake, handle, table, found.files.get(table.name, ()))
            except (SalesviewsError, DeltaError, OSError) as error:
                self.notes.append(f"Snapshots of generation {found.generation} have no single sales: {error}")
        return named
