"""Which valid sale of a ``vente_id`` counts: the first in the total order, within the horizon.

The index is derived data: ids and positions read from ``ventes_clean`` at start, then kept in memory, 16 bytes an id.
The position is there because a duplicate's record names the sale that counted.
"""

from dataclasses import dataclass

import numpy as np

from processors.positions import at_or_after
from processors.tiers import Int64s, Mask, SortedTiers


@dataclass(frozen=True)
class Verdict:
    """For each sale of a batch, in order.

    :param counts: it is the first of its id
    :param counted_at: the packed position of the sale that counts for its id, which may be itself
    """

    counts: Mask
    counted_at: Int64s


class DedupIndex:
    """The ids that have counted, with their packed positions."""

    def __init__(self) -> None:
        self._ids = SortedTiers()

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, ids: Int64s, positions: Int64s) -> None:
        """Start from ids that counted. An id that counted twice, a horizon apart, is kept once: the later one."""
        order = np.lexsort((-np.arange(len(ids)), ids))
        ids, positions = ids[order], positions[order]
        last = np.append(True, ids[1:] != ids[:-1]) if len(ids) else np.zeros(0, np.bool_)
        self._ids.add(ids[last], positions[last])

    def judge(self, ids: Int64s, positions: Int64s) -> Verdict:
        """Judge a batch in its order, and remember those that count."""
        if not len(ids):
            return Verdict(np.zeros(0, np.bool_), np.zeros(0, np.int64))
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        is_first = np.append(True, ordered[1:] != ordered[:-1])
        firsts = order[is_first]
        unique = ordered[is_first]
        found, found_at = self._ids.find(unique)
        counted_at = np.where(found, found_at, positions[firsts])
        self._ids.add(unique[~found], counted_at[~found])

        counts = np.zeros(len(ids), np.bool_)
        counts[firsts[~found]] = True
        places = np.empty(len(ids), np.int64)
        places[order] = counted_at[np.cumsum(is_first) - 1]
        return Verdict(counts, places)

    def forget_before(self, starts: list[int]) -> None:
        """Drop what counted before the horizon's first positions."""
        self._ids.keep(lambda positions: at_or_after(positions, starts))
