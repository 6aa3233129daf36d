"""What counting remembers: which ids have counted, and which clients are known.

It is derived from ``ventes_clean``, and kept in files beside the state. A life, in order:

1. It opens the files; those that are of no use to it are deleted (``sorted_runs``).
2. It reads what ``ventes_clean`` has beyond them, piece by piece, and seals each large piece.
3. It counts, and remembers in memory.
4. After a checkpoint has committed all of that, it seals it, if it is much; and at its end.

A crash loses what is not sealed: the next life reads it in 2, and goes on from the last piece that was sealed.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from processors import clients
from processors.clients import NewClients
from processors.dedup import DedupIndex
from processors.history import Batches, History
from processors.positions import Positions, pack
from processors.sorted_runs import SortedRuns
from salesviews.arrays import Int64s
from salesviews.lake import Lake

_SEAL_ENTRIES = 200_000
"""So many in memory are sealed: some 10 MB, and a second of reading ``ventes_clean`` again."""

_SEAL_COMMITS = 64
"""After so many checkpoints what is in memory is sealed, however little: they may be as many files to read again."""

_COLUMNS = ("vente_id", "topic_id", "partition", "offset", *clients.COLUMNS)


class Memory:
    """The ids and clients that counted before a place in the total order, and those that are counted from there on.

    :param folder: for the files; None: all is kept in memory
    :param first_sequence: the first place that will be counted; what ``ventes_clean`` has from there on was appended by
        a checkpoint that did not end, and is not known
    :param starts: the first position of each source inside the dedup horizon
    :param beat: called between two pieces of reading
    """

    def __init__(
        self,
        source: Lake,
        folder: Path | None,
        first_sequence: int,
        positions: Positions,
        starts: list[int],
        beat: Callable[[], None],
    ) -> None:
        history = History(source)

        def runs(name: str, *, has_pairs: bool) -> SortedRuns:
            own = None if folder is None else folder / name
            return SortedRuns(own, history.origin, first_sequence, has_pairs=has_pairs)

        self.ids = DedupIndex(runs("ids", has_pairs=False))
        self.clients = NewClients(runs("clients", has_pairs=True), history.origin)
        self._commits = 0
        self.ids.forget_before(starts)
        self._read(history, first_sequence, positions, beat)

    def committed(self, last: int) -> None:
        """Everything that was counted is committed: ``ventes_clean`` has it, and counting never goes back before it.

        :param last: the place in the total order up to which that is
        """
        self._commits += 1
        if self._commits >= _SEAL_COMMITS or self._unsealed >= _SEAL_ENTRIES:
            self.seal(last)

    def seal(self, last: int) -> None:
        """Put all of it into files, so that the next life need not read ``ventes_clean``.

        :param last: as for ``committed``
        """
        self._commits = 0
        self._seal(last, last)

    def _seal(self, last: int, now: int) -> None:
        if self._unsealed:
            self.ids.seal(last, now)
            self.clients.runs.seal(last)

    def step(self) -> bool:
        """Do a bounded part of the merging that is due, in proportion to what was sealed. Gives whether more is due."""
        return self.ids.runs.step() or self.clients.runs.step()

    def close(self) -> None:
        """Stop merging."""
        self.ids.runs.close()
        self.clients.runs.close()

    @property
    def _unsealed(self) -> int:
        return max(self.ids.runs.unsealed, self.clients.runs.unsealed)

    def _read(self, history: History, first_sequence: int, positions: Positions, beat: Callable[[], None]) -> None:
        """Step 2: what the files do not cover."""

        def turn() -> None:
            self.step()
            beat()

        covered = min(self.ids.runs.covered, self.clients.runs.covered)
        if covered + 1 >= first_sequence:
            return
        for piece in history.pieces(covered + 1, first_sequence, _COLUMNS):
            self._load(piece.batches, positions, turn)
            if self._unsealed >= _SEAL_ENTRIES:
                self._seal(piece.last, first_sequence - 1)  # the horizon is that of the first sale to come

    def _load(self, batches: Batches, positions: Positions, turn: Callable[[], None]) -> None:
        """:param turn: called after each batch"""
        found: list[tuple[Int64s, ...]] = []
        for batch in batches:
            rows = pa.table(batch)
            packed = _packed(rows, positions)
            found.append((_int64s(rows, "sequence"), _int64s(rows, "vente_id"), packed, *self.clients.pairs(rows)))
            turn()
        if not found:
            return
        sequences, ids, packed, keys, values = (np.concatenate(columns) for columns in zip(*found, strict=True))
        order = np.argsort(sequences)
        order = order[(packed[order] >= 0) & (sequences[order] > self.ids.runs.covered)]
        self.ids.load(ids[order], packed[order])
        is_new = sequences > self.clients.runs.covered
        self.clients.load((keys[is_new], values[is_new]))


def _packed(sales: pa.Table, positions: Positions) -> Int64s:
    """The packed position of each sale; negative where its source is none of ``positions``."""
    partitions = _int64s(sales, "partition")
    topics = pa.array(sales.column("topic_id").combine_chunks()).dictionary_encode()
    names = topics.dictionary.to_pylist()
    indexes = np.full((len(names), int(partitions.max(initial=0)) + 1), -1, np.int64)
    for index, mark in enumerate(positions.marks):
        if mark.source.topic_id in names and mark.source.partition < indexes.shape[1]:
            indexes[names.index(mark.source.topic_id), mark.source.partition] = index
    return pack(indexes[topics.indices.to_numpy(), partitions], _int64s(sales, "offset"))


def _int64s(rows: pa.Table, name: str) -> Int64s:
    result: Int64s = rows.column(name).to_numpy().astype(np.int64, copy=False)
    return result
