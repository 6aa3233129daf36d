import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors import sorted_runs
from processors.run_files import Header
from processors.sorted_runs import Expiry, SortedRuns
from salesviews.errors import StateError

ORIGIN = "a table"
KEYS = st.integers(-(2**63), 2**63 - 1) | st.integers(-6, 6)
SOUGHT = np.array([-(2**63), *range(-7, 8), 2**63 - 1], np.int64)


def opened(folder: Path | None, first_sequence: int = 0, *, has_pairs: bool = False) -> SortedRuns:
    return SortedRuns(folder, ORIGIN, first_sequence, has_pairs=has_pairs)


def int64s(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def merge_all(runs: SortedRuns) -> None:
    while runs.step():
        pass


class Disk:
    """Copies a folder as it is before or after an operation on its files, as a crash there would leave it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, copy: Path) -> None:
        self._folder = folder
        self._copy = copy
        self.operations = 0
        self.copied_at: int | None = None
        for owner, name in ((os, "fsync"), (os, "truncate"), (Path, "rename"), (Path, "unlink")):
            self._watch(monkeypatch, owner, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            self._before_operation()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    def _before_operation(self) -> None:
        if self.operations == self.copied_at:
            shutil.copytree(self._folder, self._copy)
        self.operations += 1


class Machine(RuleBasedStateMachine):
    """A total order of entries that are added, sealed and merged, while lives end and begin anew.

    Place n of the order adds some keys with the value n. An entry expires where its value is below a threshold, which
    some place of the order raised.
    """

    has_pairs = False

    def __init__(self) -> None:
        super().__init__()
        self._patches = pytest.MonkeyPatch()
        self._patches.setattr(sorted_runs, "_STEP_ENTRIES", 2)
        self._folder = Path(tempfile.mkdtemp())
        self._order: list[list[int]] = []
        self._thresholds: list[int] = []
        self._committed = -1
        self._begin(0)

    def _begin(self, first_sequence: int) -> None:
        """A life: the order goes on at a place, and what no file covers is added again."""
        del self._order[first_sequence:], self._thresholds[first_sequence:]
        self._committed = first_sequence - 1
        self._runs = opened(self._folder, first_sequence, has_pairs=self.has_pairs)
        assert self._runs.covered < first_sequence
        for place in range(max(self._runs.covered + 1, 0), first_sequence):
            self._add(place)

    def _add(self, place: int) -> None:
        keys = int64s(*self._order[place])
        self._runs.add(keys, np.full(len(keys), place, np.int64))

    @property
    def _threshold(self) -> int:
        return self._thresholds[-1] if self._thresholds else 0

    @rule(keys=st.lists(KEYS, unique=True, max_size=8), is_day=st.booleans())
    def add(self, keys: list[int], is_day: bool) -> None:
        place = len(self._order)
        self._order.append(sorted(keys))
        self._thresholds.append(max(place - 3, 0) if is_day else self._threshold)
        self._add(place)

    @rule(raises=st.booleans())
    def seal(self, raises: bool) -> None:
        self._committed = len(self._order) - 1
        threshold = self._threshold if raises and not self.has_pairs else -(2**63)
        self._runs.seal(self._committed, Expiry(lambda values: values >= threshold, self._committed))

    @rule()
    def step(self) -> None:
        self._runs.step()

    @rule(back=st.integers(0, 3))
    def crash(self, back: int) -> None:
        """What is not sealed is lost; at times the order goes back, too."""
        self._begin(max(self._committed + 1 - back, 0))

    @rule(in_operations=st.integers(0, 30))
    def crash_while_files_are_written(self, in_operations: int) -> None:
        copy = Path(tempfile.mkdtemp()) / "copy"
        with pytest.MonkeyPatch.context() as patches:
            disk = Disk(patches, self._folder, copy)
            disk.copied_at = in_operations
            self.seal(True)
            while disk.operations <= in_operations and self._runs.step():
                pass
        if copy.exists():
            self._runs.close()
            shutil.rmtree(self._folder)
            shutil.copytree(copy, self._folder)
            shutil.rmtree(copy)
        copy.parent.rmdir()
        self._begin(self._committed + 1)

    @precondition(lambda self: any(self._folder.glob("*.run")))
    @rule(which=st.randoms(use_true_random=False), bytes_left=st.integers(0, 10_000))
    def tear(self, which: Any, bytes_left: int) -> None:
        torn = which.choice(sorted(self._folder.glob("*.run")))
        self._runs.close()
        content = torn.read_bytes()[:bytes_left]
        torn.unlink()  # not cut in place: it may be mapped
        torn.write_bytes(content)
        self._begin(self._committed + 1)

    @rule()
    def lose_the_files(self) -> None:
        self._runs.close()
        shutil.rmtree(self._folder)
        self._begin(self._committed + 1)

    @invariant()
    def answers_as_the_model(self) -> None:
        sought = np.unique([*SOUGHT, *(key for keys in self._order[-3:] for key in keys)])
        if self.has_pairs:
            asked = [(int(key), place) for key in sought for place in range(len(self._order) + 1)]
            found = self._runs.has(int64s(*(key for key, _ in asked)), int64s(*(place for _, place in asked)))
            assert found.tolist() == [place < len(self._order) and key in self._order[place] for key, place in asked]
            return
        model = {key: place for place, keys in enumerate(self._order) for key in keys if place >= self._threshold}
        found, values = self._runs.find(sought)
        found &= values >= self._threshold
        assert found.tolist() == [int(key) in model for key in sought]
        assert values[found].tolist() == [model[int(key)] for key in sought if int(key) in model]

    def teardown(self) -> None:
        self._runs.close()
        shutil.rmtree(self._folder)
        self._patches.undo()


class PairsMachine(Machine):
    """The same with pairs: each place that a key was added at counts."""

    has_pairs = True


class TestMap(Machine.TestCase):
    """Law: whatever is added, sealed, merged, torn or lost, and wherever a life ends and the next one begins, a key is
    found if and only if it was added and has not expired, with the value that was added last.
    """

    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class TestPairs(PairsMachine.TestCase):
    """Law: the same, of pairs."""

    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 511, 512, 513, 5000]), st.sampled_from([10, 3000, 2**62]))
def test_a_large_run_answers_as_numpy_does(seed: int, count: int, largest: int) -> None:
    """Law: in a file of many pages, each key is found, also as one of many that are equal, and no other."""
    random = np.random.default_rng(seed)
    keys = np.sort(random.integers(-largest, largest, count))
    values = np.arange(count, dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        pairs = opened(Path(folder) / "pairs", has_pairs=True)
        pairs.add(keys, values)
        pairs.seal(0)
        asked, with_values = np.append(keys, keys), np.append(values, values + random.integers(-1, 2, count))
        order = np.argsort(asked, kind="stable")
        held = set(zip(keys.tolist(), values.tolist(), strict=True))
        expected = [pair in held for pair in zip(asked[order].tolist(), with_values[order].tolist(), strict=True)]
        assert pairs.has(asked[order], with_values[order]).tolist() == expected

        runs = opened(Path(folder) / "map")
        unique = np.unique(keys)
        runs.add(unique, ~unique)
        runs.seal(0)
        sought = np.unique(np.concatenate((keys, random.integers(-largest, largest, 100))))
        found, answers = runs.find(sought)
        assert found.tolist() == np.isin(sought, unique).tolist()
        assert (answers[found] == ~sought[found]).all()


def test_the_number_of_runs_grows_with_the_logarithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: with a step after each of two hundred seals, a handful of runs are to be searched, and a step is bounded."""
    monkeypatch.setattr(sorted_runs, "_STEP_ENTRIES", 64)
    written: list[int] = []
    original = SortedRuns._merged
    monkeypatch.setattr(
        SortedRuns, "_merged", lambda self, *parts: written.append(len(parts[0][0])) or original(self, *parts)
    )
    runs = opened(tmp_path)
    most = 0
    for place in range(200):
        runs.add(np.arange(place * 40, (place + 1) * 40), np.zeros(40, np.int64))
        runs.seal(place)
        written.clear()
        runs.step()
        assert len(written) <= sorted_runs._MOST_STEPS
        most = max(most, len(runs._files))
    assert len(runs) == 8_000
    assert most <= 10
    merge_all(runs)
    assert len(list(tmp_path.iterdir())) <= 6
    assert len(runs) == 8_000


def test_expired_entries_leave_with_a_merge(tmp_path: Path) -> None:
    """Law: what has expired as of a committed place takes no space for good; who begins before it has it all."""
    runs = opened(tmp_path)
    for place in range(2):
        keys = np.arange(place * 100, (place + 1) * 100)
        runs.add(keys, keys)
        runs.seal(place, Expiry(lambda values: values >= 100, 7))
    merge_all(runs)
    assert len(runs) == 100
    assert len(opened(tmp_path, 8)) == 100
    assert opened(tmp_path, 7).covered == sorted_runs.BEGINNING


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[:5000], "bytes"),
        (lambda content: bytes(len(content)), "not written to its end"),
        (lambda _: b"", "not written to its end"),
        (lambda content: Header("another", 0, 0, 0, 0, 0).encode() + content[4096:], "bytes"),
        (lambda content: content.replace(b'"count": 5', b'"count": 4'), "damaged"),
    ],
)
def test_a_damaged_file_is_told_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, why: str
) -> None:
    """Law: a file that was cut, emptied or changed is never read as if it were whole, nor is one that follows it."""
    runs = opened(tmp_path)
    runs.add(np.arange(5000), np.arange(5000))
    runs.seal(0)
    runs.add(int64s(9000), int64s(9000))
    runs.seal(1)
    [first] = tmp_path.glob("*_0.run")
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(damage(content))
    again = opened(tmp_path, 2)
    assert again.covered == sorted_runs.BEGINNING
    assert not list(tmp_path.iterdir())
    assert why in caplog.text


def test_files_of_another_table_or_format_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: what derives from another table, or was written by another program, is deleted with a word why."""
    for place, origin in enumerate(("another", ORIGIN)):
        runs = SortedRuns(tmp_path, origin, 0, has_pairs=False)
        runs.add(int64s(1), int64s(1))
        if place:
            monkeypatch.setattr("processors.run_files.FORMAT", 2)
        runs.seal(place)
        monkeypatch.undo()
        assert opened(tmp_path, 5).covered == sorted_runs.BEGINNING
    assert "derive from another" in caplog.text
    assert "its format is 2" in caplog.text


def test_what_was_not_written_to_its_end_is_deleted(tmp_path: Path) -> None:
    """Law: nothing that a crash left takes space for good; other files are left alone."""
    (tmp_path / "0_1.run.unfinished").write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: an error of the disk names the folder and what to do; nothing half written stays, and nothing is lost."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    runs = opened(tmp_path)
    runs.add(int64s(1), int64s(1))
    with monkeypatch.context() as patches:
        patches.setattr(os, "pwrite", full)
        with pytest.raises(StateError, match=f"{tmp_path}.*No space left"):
            runs.seal(0)
    assert not list(tmp_path.iterdir())
    runs.seal(0)
    assert opened(tmp_path, 1).find(int64s(1))[0].all()


def test_without_a_folder_all_stays_in_memory() -> None:
    """Law: sealing and merging change nothing where there is no folder."""
    runs = opened(None)
    runs.add(int64s(1), int64s(5))
    runs.seal(0)
    assert not runs.step()
    assert runs.find(int64s(1))[1].tolist() == [5]
    assert runs.covered == sorted_runs.BEGINNING
