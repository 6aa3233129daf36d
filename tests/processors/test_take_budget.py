from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import limits
from processors.take_budget import TakeBudget


@dataclass(frozen=True)
class Batch:
    """A message of ``ventes-typees``, as far as its size goes."""

    size: int

    def value(self) -> bytes:
        return bytes(self.size)


BATCH = Batch(200_000)


def take(budget: TakeBudget, waiting: int, seconds_a_batch: float, behind: bool = True) -> tuple[int, bool]:
    """A take of what is due of so many batches. How many it had, and whether a checkpoint is due then."""
    gathered: list[Batch] = []
    while len(gathered) < waiting and (room := budget.room(gathered)):  # type: ignore[arg-type] # what it asks
        gathered += [BATCH] * min(room, waiting - len(gathered))
    due = budget.due(gathered, 60.0)  # type: ignore[arg-type] # what it asks of messages
    taken = gathered[:due]
    budget.trying(sum(batch.size for batch in taken))
    return due, budget.took(taken, behind, due * seconds_a_batch)  # type: ignore[arg-type]


def begun(note: Path, position: int = 0) -> TakeBudget:
    budget = TakeBudget(note, 1.0)
    budget.begin(position)
    return budget


@pytest.mark.parametrize("seconds_a_batch", [0.001, 0.05, 0.4, 20.0])
def test_takes_grow_to_what_can_be_counted_in_time(tmp_path: Path, seconds_a_batch: float) -> None:
    """Law: the first take is small; later ones grow by steps to what ``TAKE_S`` allows, on any core; a single batch is
    always taken.
    """
    budget = begun(tmp_path / "note")
    sizes = [take(budget, 10_000, seconds_a_batch)[0] for _ in range(12)]
    assert sizes[0] <= 3
    assert all(later <= max(4 * earlier + 4, 4) for earlier, later in pairwise(sizes))
    most = limits.TAKE_BYTES // BATCH.size
    assert sizes[-1] == max(1, min(int(limits.TAKE_S / seconds_a_batch), most))


def test_a_take_that_cost_more_than_others_is_followed_by_smaller_ones(tmp_path: Path) -> None:
    """Law: sizes follow the cost of what comes, whatever came before."""
    budget = begun(tmp_path / "note")
    for _ in range(12):
        large, _ = take(budget, 10_000, 0.01)
    take(budget, 10_000, 1.0)
    assert take(budget, 10_000, 1.0)[0] < large / 20


def test_a_checkpoint_ends_with_its_budget(tmp_path: Path) -> None:
    """Law: a checkpoint is due when its seconds or its pages are spent, and at once where nothing waits."""
    budget = begun(tmp_path / "note")
    seconds, is_due = 0.0, False
    while not is_due:
        taken, is_due = take(budget, 10_000, 0.1)
        seconds += taken * 0.1
    assert limits.CHECKPOINT_S <= seconds < limits.CHECKPOINT_S + 2 * limits.TAKE_S
    budget.committed(5)
    budget.wrote(limits.CHECKPOINT_PAGES - 1)
    assert not take(budget, 10_000, 0.001)[1]
    budget.wrote(1)
    assert take(budget, 10_000, 0.001)[1]
    budget.committed(6)
    assert take(budget, 1, 0.001, behind=False)[1]


@given(st.integers(1, 300), st.integers(1, 40))
def test_no_size_is_tried_twice_until_one_is_committed(
    tmp_path_factory: pytest.TempPathFactory, fits: int, earlier: int
) -> None:
    """Law: where something ends each process whose checkpoint has more than so many batches, processes in a row try
    less and less, and come to one that is committed; how many began in vain is told.
    """
    note = tmp_path_factory.mktemp("state") / "note"
    budget = begun(note)
    for _ in range(earlier):
        take(budget, 10_000, 0.001)
    budget.committed(7)
    tried = [10**9]
    for starts in range(1, 20):
        if starts > 1:
            budget = TakeBudget(note, 1.0)
            assert budget.begin(7) == starts
        batches, is_due = 0, False
        while not is_due and batches <= fits:
            taken, is_due = take(budget, 10_000, 0.001)
            batches += taken
        assert batches < tried[-1] or batches == 1
        tried.append(batches)
        if is_due and batches <= fits:
            break
    else:
        pytest.fail(f"nothing was committed: {tried}")


def test_a_new_position_is_a_new_beginning(tmp_path: Path) -> None:
    """Law: only a note of the position from which a process goes on says that one before it did not get on."""
    note = tmp_path / "note"
    take(begun(note), 10_000, 0.001)
    assert TakeBudget(note, 1.0).begin(0) == 2
    assert TakeBudget(note, 1.0).begin(1) == 1
    note.write_text("{", encoding="ascii")
    assert TakeBudget(note, 1.0).begin(0) == 1
