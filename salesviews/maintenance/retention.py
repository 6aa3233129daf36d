"""Which snapshots are kept: every one of the last hour, and before that the newest of each step, for some days.

A snapshot every three seconds for a week is 200,000: keeping all would fill the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from salesviews.manifest import Summary

RECENT_S = 3600.0


@dataclass(frozen=True)
class Retention:
    """
    :param step_s: beyond what is recent, the newest snapshot of each so many seconds is kept; 0 keeps all
    :param recent_s: for so long every snapshot is kept
    """

    days: float
    step_s: int
    recent_s: float = RECENT_S

    def oldest(self, now: datetime) -> datetime:
        """What was served since then can be asked for."""
        return now - timedelta(days=self.days)

    def recent(self, now: datetime) -> datetime:
        """Every snapshot that was served since then is kept."""
        return now - timedelta(seconds=self.recent_s)

    def within(self, snapshots: Sequence[Summary], now: datetime) -> list[Summary]:
        """Those that can be asked for, of snapshots in order of their ids: the last that is older was served later."""
        oldest = self.oldest(now)
        older = [each.id for each in snapshots if each.created_at < oldest][-1:]
        return [each for each in snapshots if each.created_at >= oldest or each.id in older]

    def thinned(self, snapshots: Sequence[Summary]) -> list[Summary]:
        """Those that are kept, of snapshots in order of their ids that can be asked for and are not recent.

        Of each generation: the last one of a generation says how its sales can be read.
        """
        last = {self._step(each): each.id for each in snapshots}
        return [each for each in snapshots if last[self._step(each)] == each.id]

    def _step(self, of: Summary) -> tuple[int, float]:
        return of.generation, of.created_at.timestamp() // self.step_s if self.step_s else of.id

    def __str__(self) -> str:
        thinned = f"the newest of each {self.step_s:,} s" if self.step_s else "every one"
        return f"every snapshot of the last {self.recent_s:,.0f} s, and before that {thinned} for {self.days:g} days"


def parted(snapshots: Sequence[Summary], since: datetime) -> tuple[Sequence[Summary], Sequence[Summary]]:
    """Snapshots in order of their ids, in two: those that were replaced before a moment, and all after them."""
    place = next((place for place, each in enumerate(snapshots) if each.created_at > since), len(snapshots)) - 1
    return snapshots[: max(place, 0)], snapshots[max(place, 0) :]
