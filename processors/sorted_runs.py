"""A map of 64-bit integers, or a set of pairs of them, that takes and answers whole arrays, and is larger than memory.

What was added is a few sorted runs: small ones in memory and, once a checkpoint has committed it, files that are
mapped. Runs are merged like an LSM tree's, in bounded steps; until a merged one has its name, the old ones answer. So a
life begins with opening a few files, and memory holds what was added lately, and pages that the machine can take back.

The entries are derived from a total order. Each file covers a range of it, and says so in its name; the files of a
folder cover it from its beginning without a gap. A seal, and each merge, in order:

1. The new file is written, and gets its name (``run_files``).
2. The files that were merged are deleted.

A crash in 1 leaves the old files; what they do not cover is derived again. A crash before 2 leaves files whose range
another one has: they are deleted at the next start. A file that is damaged is deleted too, with those that come after
it. So whatever is in the folder, no answer is wrong; at worst all is derived again.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from processors import run_files
from processors.run_files import Entries, NotARunError, Run, RunFile, RunWriter
from salesviews.arrays import Int64s, Mask
from salesviews.errors import StateError

_log = logging.getLogger(__name__)

BEGINNING = -(2**63)
"""Before each place in the total order: a rebuild gives places below 0."""

_GROWTH = 4
"""Two runs are merged where the older one has less than so many times the entries: fewer to search, more merging."""

_STEP_ENTRIES = 2**17
"""Of each of two runs, in a step of a merge: some 5 ms."""

_MOST_STEPS = 16
"""In one turn: some 100 ms, where it sealed so much that it took a second itself."""

_MERGED_A_SEALED = 12
"""How often an entry is written by merges, until millions are held: as many keep the number of runs low."""


class Expiry(NamedTuple):
    """Which entries have expired, as of a place in the total order.

    :param is_alive: which of some values have not
    """

    is_alive: Callable[[Int64s], Mask]
    at: int


class _Merge(NamedTuple):
    """A merge under way."""

    runs: tuple[RunFile, RunFile]
    steps: Generator[None]


class SortedRuns:
    """The entries. Not for two processes at once.

    :param folder: where the files are; None: all is kept in memory, and nothing is sealed
    :param origin: what the entries derive from; files of another origin are deleted
    :param first_sequence: the first place in the total order that is to come; files that cover it are deleted
    :param has_pairs: each pair of a key and a value is an entry; else a key has the value that was added last
    :raises StateError: if the files cannot be read or written
    """

    def __init__(self, folder: Path | None, origin: str, first_sequence: int, *, has_pairs: bool) -> None:
        self._folder = folder
        self._origin = origin
        self._has_pairs = has_pairs
        self._files: list[RunFile] = []
        self._added: list[Run] = []
        self._expiry: Expiry | None = None
        self._merges: list[_Merge] = []
        self._owed = 0
        if folder is not None:
            with _failing_as_state_error(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._files = _opened(folder, origin, first_sequence)

    def __len__(self) -> int:
        """How many entries are held; one that has several values or was added again may be counted twice."""
        return sum(map(len, self._runs()))

    @property
    def covered(self) -> int:
        """Up to which place in the total order the files have everything."""
        return self._files[-1].header.last if self._files else BEGINNING

    @property
    def unsealed(self) -> int:
        """How many entries only the memory has."""
        return sum(map(len, self._added))

    def find(self, keys: Int64s) -> tuple[Mask, Int64s]:
        """For each key, in ascending order, whether it is there, and its value (0 where it is not)."""
        found = np.zeros(len(keys), np.bool_)
        values = np.zeros(len(keys), np.int64)
        for run in self._runs():
            run.values_of(keys, found, values)
        return found, values

    def has(self, keys: Int64s, values: Int64s) -> Mask:
        """For each pair, in ascending order of the keys, whether it is there."""
        found = np.zeros(len(keys), np.bool_)
        for run in self._runs():
            run.has(keys, values, found)
        return found

    def add(self, keys: Int64s, values: Int64s) -> None:
        """Add entries, in ascending order of the keys, each once."""
        if not len(keys):
            return
        self._added.append(Run(keys, values))
        while len(self._added) > 1 and _is_due(self._added[-2], self._added[-1]):
            newer, older = self._added.pop(), self._added.pop()
            self._added.append(Run(*self._merged((older.keys, older.values), (newer.keys, newer.values))))

    def seal(self, last: int, expiry: Expiry | None = None) -> None:
        """Put what was added into a file. All of it is committed.

        :param last: the place in the total order up to which that is everything
        :param expiry: what may be left out from now on
        """
        if self._folder is None or last <= self.covered:
            return
        added = [(run.keys, run.values) for run in self._added]
        keys, values = self._merged(*added) if added else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        covered = (self.covered + 1 if self._files else BEGINNING, last)
        self._expiry = expiry
        with (
            _failing_as_state_error(self._folder),
            RunWriter(self._folder, self._origin, covered, _at(expiry), len(keys)) as writer,
        ):
            writer.write(*_alive(keys, values, expiry))
            self._files.append(writer.finish())
        self._added = []
        self._owed += _MERGED_A_SEALED * len(keys)

    def step(self) -> bool:
        """Do a bounded part of the merging that is due: 5 ms, more where much was sealed. Gives whether more is due.

        Call it once a turn: then it costs some 0.3 us an entry that was sealed, and a handful of runs is left. Without
        it all answers are the same, and take longer.
        """
        for _ in range(min(max(self._owed // (2 * _STEP_ENTRIES), 1), _MOST_STEPS)):
            if (due := self._due()) is not None:
                self._merges.append(_Merge(due, self._merging(*due)))
            if not self._merges:
                self._owed = 0
                return False
            if next(self._merges[-1].steps, _DONE) is _DONE:
                self._merges.pop()
        return True

    def close(self) -> None:
        """Give up the merges that are under way."""
        for merge in self._merges:
            merge.steps.close()
        self._merges = []

    def _runs(self) -> Iterator[Run]:
        """The older ones first."""
        yield from self._files
        yield from self._added

    def _due(self) -> tuple[RunFile, RunFile] | None:
        """The newest two neighbours that are to be merged. A merge that is under way is older, and waits for them.

        So there are never many small runs to search, and each life ends some merges, however short it is.
        """
        merged = self._merges[-1].runs if self._merges else ()
        for older, newer in zip(self._files[-2::-1], self._files[:0:-1], strict=True):
            if older in merged:
                break
            if _is_due(older, newer):
                return older, newer
        return None

    def _merging(self, older: RunFile, newer: RunFile) -> Generator[None]:
        """Merge two neighbours, a bounded part a step."""
        assert self._folder is not None
        expiry = self._expiry
        ends = [0, 0]
        runs = (older, newer)
        dropped_at = max(older.header.dropped_at, newer.header.dropped_at, _at(expiry))
        with _failing_as_state_error(self._folder):
            covered = (older.header.first, newer.header.last)
            with RunWriter(self._folder, self._origin, covered, dropped_at, len(older) + len(newer)) as writer:
                while any(end < len(run) for run, end in zip(runs, ends, strict=True)):
                    bound = min(
                        run.keys[min(end + _STEP_ENTRIES, len(run)) - 1]
                        for run, end in zip(runs, ends, strict=True)
                        if end < len(run)
                    )
                    parts: list[Entries] = []
                    for place, run in enumerate(runs):
                        start = ends[place]
                        ends[place] += int(np.searchsorted(run.keys[start:], bound, side="right"))
                        part = slice(start, ends[place])
                        parts.append((run.keys[part], run.values[part]))
                    writer.write(*_alive(*self._merged(*parts), expiry))
                    self._owed = max(self._owed - sum(len(part[0]) for part in parts), 0)
                    yield
                merged = writer.finish()
            place = self._files.index(older)
            self._files[place : place + 2] = [merged]
            for run in runs:
                run.path.unlink()

    def _merged(self, *parts: Entries) -> Entries:
        """:param parts: the older ones first"""
        filled = [part for part in parts if len(part[0])]
        if len(filled) == 1:
            return filled[0]
        keys = np.concatenate([np.zeros(0, np.int64), *(keys for keys, _ in filled)])
        values = np.concatenate([np.zeros(0, np.int64), *(values for _, values in filled)])
        order = np.argsort(keys, kind="stable")  # finds the runs and merges them
        kept = first_pairs(keys, values, order) if self._has_pairs else order[last_keys(keys[order])]
        return keys[kept], values[kept]


_DONE = object()


def last_keys(ordered: Int64s) -> Mask:
    """Which of some keys, in ascending order, are the last of those that are equal."""
    return np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]


def first_keys(ordered: Int64s) -> Mask:
    """Which of some keys, in ascending order, are the first of those that are equal."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def first_pairs(keys: Int64s, values: Int64s, order: Int64s) -> Int64s:
    """Where each pair that there is comes first, in ascending order of the keys.

    :param order: the places in ascending order of the keys
    """
    is_first = first_keys(keys[order])
    if is_first.all():
        return order
    is_other = values[order[1:]] != values[order[:-1]]
    if (is_other & ~is_first[1:]).any():  # a key has several values
        order = np.lexsort((values, keys))
        is_first[1:] |= values[order[1:]] != values[order[:-1]]
    result: Int64s = np.minimum.reduceat(order, np.flatnonzero(is_first))
    return result


def _at(expiry: Expiry | None) -> int:
    return BEGINNING if expiry is None else expiry.at


def _alive(keys: Int64s, values: Int64s, expiry: Expiry | None) -> Entries:
    if expiry is None:
        return keys, values
    is_alive = expiry.is_alive(values)
    return keys[is_alive], values[is_alive]


def _is_due(older: Run, newer: Run) -> bool:
    return len(older) < _GROWTH * max(len(newer), 1)


def _opened(folder: Path, origin: str, first_sequence: int) -> list[RunFile]:
    """The files that cover the total order from its beginning, each as much as one does; all others are deleted."""
    whole: list[RunFile] = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(run_files.UNFINISHED):
            _log.info("%s was not written to its end, and is deleted", path)
            path.unlink()
        elif run_files.is_name(path.name):
            try:
                run = RunFile(path)
                run.check(origin, first_sequence)
            except NotARunError as error:
                _log.warning("%s cannot be used: %s. It is deleted, and made again from ventes_clean", path, error)
                path.unlink()
            else:
                whole.append(run)
    chain: list[RunFile] = []
    begins = BEGINNING
    while candidates := [run for run in whole if run.header.first == begins]:
        chain.append(max(candidates, key=lambda run: run.header.last))
        begins = chain[-1].header.last + 1
    for run in whole:
        if run not in chain:
            _log.info("%s is deleted: another file covers the same, or one before it is missing", run.path)
            run.path.unlink()
    return chain


@contextmanager
def _failing_as_state_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"The files in {folder} cannot be read or written: {error}. Is there space, and are there rights? While no "
            "views process runs, the folder can be deleted: it is made again from ventes_clean."
        ) from error
