"""Time travel: which snapshots are kept, and the manifest of any of them, by its id or by a time.

Recent snapshots are the versions of ``silver/snapshots``. Older ones are rows of ``silver/snapshots_retained``:
`salesviews maintain` copies there those that stay, records in the same commit up to which id it has decided, and then
removes versions from the log. So a reader that looks at the log first, and at the retained ones after, misses none.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

import pyarrow.compute as pc

from salesviews import lake, manifest
from salesviews.errors import ExpiredError, LakeError, ParameterError, UnknownSnapshotError
from salesviews.lake import Lake
from salesviews.maintenance import retained
from salesviews.maintenance.retained import Unread
from salesviews.maintenance.retention import Retention
from salesviews.manifest import METADATA, SUMMARY, Manifest, Summary
from salesviews.tables import delta_log, files
from salesviews.tables.delta_log import Log

PARAMETER = "as_of"
"""The name of the question's parameter, for errors."""

_log = logging.getLogger(__name__)

_LONGEST_ID = 18
_BATCH_ROWS = 1_000
_ATTEMPTS = 3


def decisions(table_id: str) -> str:
    """The application transaction of ``silver/snapshots_retained`` that records up to which id it was decided.

    :param table_id: Delta's id of ``silver/snapshots``
    """
    return f"maintain/{table_id}"


@dataclass(frozen=True)
class Kept:
    """The snapshots that are kept, in order of their ids.

    :param decided: those from this id on are versions of ``silver/snapshots``, of the others none but the retained are
        kept; None where nothing was ever decided
    :param unread: files of retained ones that cannot be read
    :param table_id: Delta's id of ``silver/snapshots``: a table that was created again begins with id 1, and what was
        retained of the one before is none of its snapshots
    """

    retained: Sequence[Summary]
    recent: Sequence[Summary]
    decided: int | None
    table_id: str
    unread: Sequence[Unread] = ()

    @property
    def all(self) -> list[Summary]:
        return [*self.retained, *self.recent]


_State: TypeAlias = tuple[int, int]
"""A version and when it was committed: another one means that something changed."""


class Shelf:
    """Reads what is kept. It remembers what it has read: later looks cost what is new. For several threads."""

    def __init__(self, source: Lake) -> None:
        self._lake = source
        self._looking = threading.Lock()
        self._kept = Kept((), (), None, "")
        self._recent: dict[int, Summary] = {}
        self._states: tuple[_State | None, _State | None] = (None, None)

    def look(self) -> Kept:
        """What is kept now.

        1. Look which versions of ``silver/snapshots`` are in its log.
        2. Read the retained snapshots.
        3. Read from the log those that are not decided about.

        :raises LakeError: naming the file that cannot be read
        """
        with self._looking:
            for _ in range(_ATTEMPTS):
                try:
                    return self._look()
                except FileNotFoundError as error:  # the log was cleaned up between 1 and 3
                    failure = error
            raise LakeError(f"The log of {lake.SNAPSHOTS.name} cannot be read: {failure}") from failure

    def _look(self) -> Kept:
        if (log := delta_log.read(self._lake, lake.SNAPSHOTS)) is None:  # 1
            return Kept((), (), None, "")
        states = (_state(log, log.commits[0]), self._retained_state())
        if (
            states != self._states or self._kept.unread
        ):  # 2: the log was cleaned up, more is retained, or all is made anew
            kept = self._read_retained()
            if kept.table_id != self._kept.table_id:
                self._recent = {}
            self._tell_of_unread(kept)
            self._kept, self._states = kept, states
        first = self._kept.decided or 1
        versions = [version for version in log.commits if version >= first]
        self._recent = {version: self._recent.get(version) or self._summary(log, version) for version in versions}  # 3
        return replace(self._kept, recent=list(self._recent.values()))

    def _tell_of_unread(self, kept: Kept) -> None:
        known = {each.path for each in self._kept.unread}
        for each in kept.unread:
            if each.path not in known and not each.is_set_aside:
                _log.error("Earlier snapshots of %s cannot be asked for: %s", each.day, each.error)

    def _retained_state(self) -> _State | None:
        log = delta_log.read(self._lake, lake.RETAINED)
        return None if log is None else _state(log, log.newest)

    def _read_retained(self) -> Kept:
        """What is kept, without the recent ones."""
        table_id = str(self._lake.open(lake.SNAPSHOTS).metadata().id)
        nothing = Kept((), (), None, table_id)
        if not self._lake.exists(lake.RETAINED):
            return nothing
        handle = self._lake.open(lake.RETAINED)
        if (decided := handle.transaction_version(decisions(table_id))) is None:
            return nothing
        listed = files.of_handle(handle, lake.RETAINED)
        unread: list[Unread] = []
        read = retained.batches(self._lake, listed, SUMMARY, _BATCH_ROWS, unread.append)
        found = sorted((Summary.of_row(row) for batch in read for row in batch.to_pylist()), key=lambda each: each.id)
        return Kept(found, (), int(decided), table_id, unread)

    def manifest(self, of: Summary) -> Manifest:
        """The manifest of a snapshot that is kept.

        :raises LakeError: if it cannot be read, or is another than the summary says
        """
        is_recent = of.id >= (self.look().decided or 0)
        found = manifest.read(self._lake, of.id) if is_recent else self._retained_manifest(of)
        if found is None or found.summary != of:
            raise LakeError(
                f"The manifest of snapshot {of.id} is not in {lake.SNAPSHOTS.name} or {lake.RETAINED.name} as they "
                f"list it. Something else writes to them, or they were damaged. Listed: {of}"
            )
        return found

    def _retained_manifest(self, of: Summary) -> Manifest | None:
        listed = files.listing(self._lake, lake.RETAINED)
        of_day = listed.only(lambda partition: partition == (retained.day(of.created_at),))
        unread: list[Unread] = []
        for batch in retained.batches(self._lake, of_day, lake.RETAINED.schema.names, _BATCH_ROWS, unread.append):
            for row in batch.filter(pc.equal(batch.column("id"), of.id)).to_pylist():
                return manifest.of_checked_row(row, f"row {of.id} of {lake.RETAINED.name}")
        if unread:
            raise unread[0].error
        return None

    def _summary(self, log: Log, version: int) -> Summary:
        try:
            noted = log.metadata(version, METADATA)
            if noted is not None:
                return Summary.of_metadata(noted)
            if (found := manifest.read(self._lake, version)) is not None:
                return found.summary
            reason = "it holds no manifest"
        except (KeyError, TypeError, ValueError) as error:
            reason = repr(error)
        raise LakeError(
            f"Version {version} of {lake.SNAPSHOTS.name} does not say which snapshot it is: {reason}. "
            f"Is {log.folder} damaged?"
        )


class History:
    """Finds snapshots.

    :param clock: now, in UTC
    """

    def __init__(self, source: Lake, retention: Retention, clock: Callable[[], datetime]) -> None:
        self._lake = source
        self._retention = retention
        self._clock = clock
        self._shelf = Shelf(source)
        self._closing: Manifest | None = None

    def snapshots(self) -> list[Summary]:
        """Those that can be asked for, the newest first."""
        return self._asked_for(self._shelf.look())

    def _asked_for(self, kept: Kept) -> list[Summary]:
        return self._retention.within(kept.all, self._clock())[::-1]

    def find(self, asked: int | datetime) -> Summary:
        """A snapshot by its id, or the one that was served at a time: the newest kept one that was made by then.

        :raises ExpiredError: if it is not kept any more
        :raises UnknownSnapshotError: if there never was one
        :raises ParameterError: if the time has not come yet
        :raises UnreadableError: if a file that cannot be read may have it
        """
        kept = self._shelf.look()
        if isinstance(asked, int):
            return self._by_id(asked, kept)
        now = self._clock()
        if asked > now:
            raise ParameterError(PARAMETER, f"{_instant(asked)} has not come yet: it is {_instant(now)}.")
        return self._by_time(asked, kept)

    def manifest(self, of: Summary) -> Manifest:
        """The manifest of a snapshot that was found. ``Manifest.listing`` gives the files of each table.

        The append-only tables are read at a version that is kept, which holds later rows too: as always, rows beyond
        the manifest's sequence are to be left out.

        :raises ExpiredError: if it went since
        :raises LakeError: naming the file that cannot be read
        """
        return self._with_sales(self._read(of))

    def _read(self, of: Summary) -> Manifest:
        try:
            return self._shelf.manifest(of)
        except LakeError:
            self.find(of.id)  # it may have gone, or have been moved, while it was read
            return self._shelf.manifest(of)

    def resolve(self, asked: int | datetime) -> Manifest:
        """``find``, then ``manifest``."""
        return self.manifest(self.find(asked))

    def _with_sales(self, found: Manifest) -> Manifest:
        """The manifest with versions or files of the append-only tables that are there.

        The versions that it names may have left the log. The last manifest of its generation has all its rows: by
        versions while it is the newest of all, and by files where a rebuild closed the generation.
        """
        names = (lake.CLEAN.name, lake.REJECTED.name)
        if (closing := self._closing_of(found, names)) is None:
            return found
        return replace(
            found,
            tables={**found.tables, **{name: closing.tables[name] for name in names}},
            files={**found.files, **{name: closing.files[name] for name in names if name in closing.files}},
        )

    def _closing_of(self, found: Manifest, names: Sequence[str]) -> Manifest | None:
        """The last manifest of its generation that can be read and names these tables; None if none after it does.

        Others say nothing of the sales: a damaged one, and that with which a rebuild closed figures that it did not
        know. Each one after ``found`` has all its rows.
        """
        for each in self._shelf.look().all[::-1]:
            if each.id <= found.id:
                break
            if each.generation != found.generation:
                continue
            if self._closing is not None and self._closing.summary == each:
                return self._closing
            try:
                closing = self._read(each)
            except (LakeError, ExpiredError) as error:
                _log.warning(
                    "Snapshot %d does not say where the sales of snapshot %d are: %s", each.id, found.id, error
                )
                continue
            if all(name in closing.tables for name in names):
                self._closing = closing
                return closing
        return None

    def _by_id(self, asked: int, kept: Kept) -> Summary:
        there = self._asked_for(kept)
        if not there:
            raise UnknownSnapshotError(f"There is no snapshot {asked}: there is none at all yet.")
        if not 1 <= asked <= there[0].id:
            raise UnknownSnapshotError(f"There is no snapshot {asked}: the newest is {_shown(there[0])}.")
        place = next((place for place, each in enumerate(there) if each.id <= asked), len(there))
        if place < len(there) and there[place].id == asked:
            return there[place]
        self._check_is_read(kept, there[place] if place < len(there) else None, there[place - 1].created_at)
        nearest = " and ".join(map(_shown, there[max(place - 1, 0) : place + 1]))
        raise ExpiredError(
            f"Snapshot {asked} is not kept any more: kept is {self._retention}. The nearest: {nearest}. "
            f"The oldest: {_shown(there[-1])}."
        )

    def _by_time(self, asked: datetime, kept: Kept) -> Summary:
        there = self._asked_for(kept)
        if not there:
            raise UnknownSnapshotError(f"There was no snapshot at {_instant(asked)}: there is none at all yet.")
        for each in there:
            if each.created_at <= asked:
                self._check_is_read(kept, each, asked)
                return each
        if there[-1].id == 1:
            raise UnknownSnapshotError(f"There was no snapshot at {_instant(asked)}: the first is {_shown(there[-1])}.")
        self._check_is_read(kept, None, asked)
        if asked < (began := self._began()):
            raise UnknownSnapshotError(f"There was no snapshot at {_instant(asked)}: they began at {_instant(began)}.")
        raise ExpiredError(
            f"The snapshot of {_instant(asked)} is not kept any more: kept is {self._retention}. "
            f"The oldest: {_shown(there[-1])}."
        )

    def _check_is_read(self, kept: Kept, before: Summary | None, until: datetime) -> None:
        """:raises UnreadableError: if a file that cannot be read may have snapshots after one and until a moment"""
        if before is not None and kept.decided is not None and before.id >= kept.decided:
            return  # all that are after it are recent
        oldest = self._retention.oldest(self._clock())
        since = oldest if before is None else before.created_at
        for each in kept.unread:
            if retained.day(since) <= each.day <= retained.day(until) and not each.is_given_up(oldest):
                raise each.error

    def _began(self) -> datetime:
        """When the table of the snapshots was created."""
        created_ms: int = self._lake.open(lake.SNAPSHOTS).metadata().created_time
        return datetime.fromtimestamp(created_ms / 1000, UTC)


def _state(log: Log, version: int) -> _State | None:
    try:
        return version, log.committed_ns(version)
    except FileNotFoundError:  # cleaned up a moment ago
        return None


def parse(text: str) -> int | datetime:
    """Reads what a person writes for a snapshot: its id, or an instant of ISO 8601, in UTC unless it has an offset.

    :raises ValueError: with what was expected
    """
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID:
        return int(text)
    try:
        if "T" in text:
            instant = datetime.fromisoformat(text)
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        "a snapshot's id, or an instant, such as 2025-12-22T10:00:00Z (in an address, + is written %2B); "
        "/api/snapshots lists the snapshots"
    )


def _shown(snapshot: Summary) -> str:
    return f"{snapshot.id} ({_instant(snapshot.created_at)})"


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
