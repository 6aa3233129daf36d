"""Which snapshots are kept: every one of the last hour, and before that the newest of each step, for some days.

A snapshot every three seconds for a week is 200,000: keeping all would fill the disk.
"""

from collections.abc import Iterable
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
        """What was made before it is not kept, except for the newest snapshot."""
        return now - timedelta(days=self.days)

    def recent(self, now: datetime) -> datetime:
        """What was made since then is kept."""
        return now - timedelta(seconds=self.recent_s)

    def thinned(self, snapshots: Iterable[Summary], now: datetime) -> list[Summary]:
        """Those that are kept of snapshots that are not recent, in order.

        Of each generation: the last one of a generation says how its sales can be read.
        """
        oldest = self.oldest(now)
        newest: dict[tuple[int, float], Summary] = {}
        for each in snapshots:
            if each.created_at >= oldest:
                step = (each.generation, each.created_at.timestamp() // self.step_s if self.step_s else each.id)
                held = newest.setdefault(step, each)
                newest[step] = max(held, each, key=lambda snapshot: snapshot.id)
        return sorted(newest.values(), key=lambda snapshot: snapshot.id)

    def __str__(self) -> str:
        thinned = f"the newest of each {self.step_s:,} s" if self.step_s else "every one"
        return f"every snapshot of the last {self.recent_s:,.0f} s, and before that {thinned} for {self.days:g} days"
