"""Step 2 of maintenance: which snapshots stay, decided once for all.

The manifests that stay of those that are not recent any more are copied to ``silver/snapshots_retained``, those beyond
retention are dropped from it, and it is recorded up to which snapshot this was decided: one commit. A crash before it
leaves everything to the next run; of two runs at once, one finds that the other was faster, and looks again.
"""

import logging
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from salesviews import lake
from salesviews.errors import LakeError
from salesviews.lake import Lake
from salesviews.maintenance.history import Kept, Shelf, decisions
from salesviews.maintenance.retained import Unread, day
from salesviews.maintenance.retention import Retention, parted
from salesviews.manifest import Manifest, Summary
from salesviews.tables import files

_log = logging.getLogger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True)
class History:
    """What was decided.

    :param first: the oldest snapshot that stays a version of ``silver/snapshots``; None: there is none
    :param named: its manifest; None where it cannot be read
    :param retained: how many earlier ones are kept
    :param copied: manifests that are retained from now on
    """

    first: Summary | None
    named: Manifest | None
    recent: int
    retained: int
    copied: Sequence[Manifest]
    dropped: Sequence[Summary]
    problems: Sequence[str]


class Shelving:
    """:param is_dry_run: decide, and write nothing"""

    def __init__(self, source: Lake, retention: Retention, clock: Callable[[], datetime], is_dry_run: bool) -> None:
        self._lake = source
        self._retention = retention
        self._clock = clock
        self._is_dry_run = is_dry_run
        self._shelf = Shelf(source)

    def keep(self) -> History:
        if not self._is_dry_run:
            self._lake.create(lake.RETAINED)
        for _ in range(_ATTEMPTS):
            if (decided := self._try_to_keep()) is not None:
                return decided
        raise LakeError(
            f"{lake.RETAINED.name} did not take the commit in {_ATTEMPTS} attempts: another `salesviews maintain` "
            "writes to it. One at a time is enough."
        )

    def _try_to_keep(self) -> History | None:
        """None where another maintenance was faster."""
        kept, now, retention = self._shelf.look(), self._clock(), self._retention
        leaving, recent = parted(kept.recent, retention.recent(now))
        is_recent, held = {each.id for each in recent}, {each.id for each in kept.retained}
        earlier = [each for each in retention.within(kept.all, now) if each.id not in is_recent]
        stay = {each.id: each for each in retention.thinned(earlier)}
        copied, problems = self._readable([each for each in stay.values() if each.id not in held])
        oldest = retention.oldest(now)
        unread = [each for each in kept.unread if not each.is_given_up(oldest)]
        problems += [f"{each.error} What it may need stays: no data file of Silver is deleted." for each in unread]
        closed = {each.day for each in unread}
        is_added = any(day(each.created_at) in closed for each in copied)
        dropped = [
            each
            for each in kept.retained
            if each.id not in stay and not is_added and day(each.created_at) not in closed
        ]
        given_up = [
            each for each in kept.unread if each.is_given_up(oldest) and not is_added and each.day not in closed
        ]
        if (leaving or dropped or given_up) and not self._is_dry_run:
            days = {day(each.created_at) for each in [*(each.summary for each in copied), *dropped]} | {
                each.day for each in given_up
            }
            went = {each.id for each in dropped}
            if not self._write_retained(kept, recent[0].id, set() if is_added else days, held - went, given_up, copied):
                return None
            for each in given_up:
                _log.warning("The earlier snapshots of %s that were in %s are given up", each.day, each.path)
        first, named = next(iter(recent), None), None
        try:
            named = self._shelf.manifest(first) if first else None
        except LakeError as error:
            if self._shelf.look().decided != kept.decided:
                return None
            problems.append(
                f"The manifest of snapshot {recent[0].id}, the oldest recent one, cannot be read: what it may need "
                f"stays, and no log of Silver is cleaned up until it is not recent any more. {error}"
            )
        return History(first, named, len(recent), len(held) - len(dropped) + len(copied), copied, dropped, problems)

    def _readable(self, leaving: Iterable[Summary]) -> tuple[list[Manifest], list[str]]:
        """The manifests that can be kept, and why others cannot."""
        found, problems = [], []
        for each in leaving:
            try:
                named = self._shelf.manifest(each)
            except LakeError as error:
                problems.append(f"Snapshot {each.id} cannot be kept: {error}")
                continue
            if all(table.name in named.files for table in lake.OVERWRITTEN if table.name in named.tables):
                found.append(named)
            else:
                _log.info("snapshot %d is not kept: an older program wrote it, which named no files", each.id)
        return found, problems

    def _write_retained(
        self,
        kept: Kept,
        first: int,
        days: set[date],
        ids: Set[int],
        given_up: Iterable[Unread],
        copied: Iterable[Manifest],
    ) -> bool:
        """Overwrite the days that change: of their rows those of ``ids`` stay, and the copied ones come.

        Where no day is named, the copied ones are added. Gives whether the table was still what was compared with. What
        is in it before the first decision is of a ``silver/snapshots`` that is gone, and goes.
        """
        handle = self._lake.open(lake.RETAINED)
        if handle.transaction_version(decisions(kept.table_id)) != kept.decided:
            return False
        rows = lake.RETAINED.schema.empty_table()
        if kept.decided is not None:
            without = {each.path for each in given_up}
            listed = files.of_handle(handle, lake.RETAINED)
            readable = {partition: paths - without for partition, paths in listed.files.items()}
            rows = files.rows(self._lake, replace(listed, files=readable), [(each,) for each in sorted(days)])
            rows = rows.filter(pc.is_in(rows.column("id"), pa.array(ids, pa.int64())))
        rows = pa.concat_tables([rows, *map(_retained_row, copied)]).sort_by("id")
        decided = CommitProperties(app_transactions=[Transaction(decisions(kept.table_id), first)])
        same_days = " OR ".join(f"jour = DATE '{each}'" for each in sorted(days))
        try:
            if kept.decided is None:
                write_deltalake(handle, rows, mode="overwrite", commit_properties=decided)
            elif days:
                write_deltalake(handle, rows, mode="overwrite", predicate=same_days, commit_properties=decided)
            else:
                write_deltalake(handle, rows, mode="append", commit_properties=decided)
        except CommitFailedError:
            return False
        return True


def _retained_row(of: Manifest) -> pa.Table:
    jour = pa.array([day(of.created_at)], pa.date32())
    return of.to_arrow().append_column("jour", jour).cast(lake.RETAINED.schema)
