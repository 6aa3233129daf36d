"""Which valid sale of a ``vente_id`` counts: the first in the total order, within the horizon.

The ids are derived data, of ``ventes_clean``: sorted runs, 16 bytes an id. An id has the position of the sale that
counted, because a duplicate's record names it, and because the horizon goes by it: an id beyond the horizon is as one
that is not there, and merges leave it out.
"""

from dataclasses import dataclass

import numpy as np

from processors.positions import at_or_after
from processors.sorted_runs import Expiry, SortedRuns, first_keys, last_keys
from salesviews.arrays import Int64s, Mask


@dataclass(frozen=True)
class Verdict:
    """For each sale of a batch, in order.

    :param counts: it is the first of its id
    :param counted_at: the packed position of the sale that counts for its id, which may be itself
    """

    counts: Mask
    counted_at: Int64s


class DedupIndex:
    """The ids that have counted, with their packed positions.

    :param runs: where they are; of ids, each with one position
    """

    def __init__(self, runs: SortedRuns) -> None:
        self.runs = runs
        self._starts: list[int] = []

    def load(self, ids: Int64s, positions: Int64s) -> None:
        """Add ids that counted, in the total order. Of one that counted twice, a horizon apart, it is the later one."""
        order = np.argsort(ids, kind="stable")
        lasts = order[last_keys(ids[order])]
        self.runs.add(ids[lasts], positions[lasts])

    def judge(self, ids: Int64s, positions: Int64s) -> Verdict:
        """Judge a batch in its order, and remember those that count."""
        if not len(ids):
            return Verdict(np.zeros(0, np.bool_), np.zeros(0, np.int64))
        order = np.argsort(ids)
        is_first = first_keys(ids[order])
        firsts = np.minimum.reduceat(order, np.flatnonzero(is_first))
        unique = ids[firsts]
        found, found_at = self.runs.find(unique)
        found &= at_or_after(found_at, self._starts)
        counted_at = np.where(found, found_at, positions[firsts])
        self.runs.add(unique[~found], counted_at[~found])

        counts = np.zeros(len(ids), np.bool_)
        counts[firsts[~found]] = True
        places = np.empty(len(ids), np.int64)
        places[order] = counted_at[np.cumsum(is_first) - 1]
        return Verdict(counts, places)

    def forget_before(self, starts: list[int]) -> None:
        """Take what counted before the horizon's first positions, which never go back, for forgotten."""
        self._starts = starts

    def seal(self, last: int, now: int) -> None:
        """As ``SortedRuns.seal``. What is beyond the horizon is left out from now on.

        :param now: the place in the total order as of which the horizon is
        """
        starts = self._starts
        self.runs.seal(last, Expiry(lambda positions: at_or_after(positions, starts), now))
