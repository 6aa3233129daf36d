from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError

from salesviews.lake import Lake, Table
from salesviews.tables import files
from sinks import appends, mending
from sinks.appends import Stream, append_once
from sinks.mending import forget_gone, mend, set_aside, state

TABLE = Table("essai", pa.schema([("jour", pa.string()), ("offset", pa.int64())]), ("jour",), "a table of these tests")


def rows(*offsets: int, jour: str = "2026-01-02") -> pa.Table:
    return pa.table({"jour": pa.repeat(jour, len(offsets)), "offset": offsets}, schema=TABLE.schema)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """In a folder whose name is no plain word: its files must not be taken for gone."""
    made = Lake(str(tmp_path / "annee=1 été" / "lake"))
    made.create(TABLE)
    return made


def held(lake: Lake) -> list[int]:
    return sorted(files.dataset(lake, files.listing(lake, TABLE)).to_table(["offset"]).column("offset").to_pylist())


def paths(lake: Lake, jour: str = "2026-01-02") -> list[str]:
    return sorted(files.listing(lake, TABLE).files[(jour,)])


def test_of_two_mendings_that_saw_the_same_holes_one_is_refused(lake: Lake) -> None:
    """Law: rows that another mending may have added since they were found missing are not added."""
    seen = state(lake.open(TABLE))
    after = mend(lake, TABLE, rows(1, 2), seen)
    assert after == state(lake.open(TABLE)) != seen
    assert mend(lake, TABLE, rows(1, 2), seen) is None
    assert mend(lake, TABLE, rows(3), after) is not None
    assert held(lake) == [1, 2, 3]


def test_of_two_mendings_that_overlap_in_time_one_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a mending that lands between another's comparison and its commit fails that commit."""
    seen, write = state(lake.open(TABLE)), mending.write_deltalake

    def write_after_another(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(mending, "write_deltalake", write)
        assert mend(lake, TABLE, rows(1, 2), seen) is not None
        write(*arguments, **options)

    monkeypatch.setattr(mending, "write_deltalake", write_after_another)
    assert mend(lake, TABLE, rows(1, 2), seen) is None
    assert held(lake) == [1, 2]


@pytest.mark.parametrize("landed", [True, False])
def test_a_mending_whose_answer_is_lost_is_not_believed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """Law: after an error nothing is assumed; the state tells whether it landed."""
    seen, write = state(lake.open(TABLE)), mending.write_deltalake

    def lose_the_answer(*arguments: object, **options: object) -> None:
        if landed:
            write(*arguments, **options)
        raise OSError("the connection was reset")

    monkeypatch.setattr(mending, "write_deltalake", lose_the_answer)
    assert mend(lake, TABLE, rows(1), seen) is None
    assert (state(lake.open(TABLE)) != seen) is landed
    assert held(lake) == [1] * landed


@pytest.mark.parametrize("module", [mending, appends])
def test_appends_and_mendings_do_not_disturb_each_other(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """Law: an append that lands between a mending's comparison and its commit is no reason to refuse it, and the other
    way round.
    """
    seen, write = state(lake.open(TABLE)), module.write_deltalake
    both = [lambda: mend(lake, TABLE, rows(1), seen), lambda: append_once(lake, TABLE, [stream(5, 7)])]
    first, second = both if module is mending else reversed(both)

    def write_after_another(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(module, "write_deltalake", write)
        assert second()
        write(*arguments, **options)

    monkeypatch.setattr(module, "write_deltalake", write_after_another)
    assert first()
    assert held(lake) == [1, 5, 6]


def stream(start: int, end: int) -> Stream:
    return Stream("a", rows(*range(start, end)), "offset", end)


def test_a_table_that_was_replaced_is_another(lake: Lake, tmp_path: Path) -> None:
    """Law: what was found missing in a table is not added to one that was created in its place."""
    seen = state(lake.open(TABLE))
    Path(lake.uri(TABLE)).rename(tmp_path / "moved")
    lake.create(TABLE)
    assert mend(lake, TABLE, rows(1), seen) is None
    assert held(lake) == []


def test_only_files_that_are_gone_are_forgotten(lake: Lake) -> None:
    """Law: a table with files that are gone holds the rows of the others, and says which it forgot; once."""
    for number, jour in enumerate(("2026-01-02", "2026-01-02", "2026-01-03")):
        append_once(lake, TABLE, [Stream("a", rows(number, jour=jour), "offset", number + 1)])
    assert forget_gone(lake, TABLE) == ()
    version = lake.open(TABLE).version()
    [gone, _] = paths(lake)
    (Path(lake.uri(TABLE)) / gone).unlink()
    assert forget_gone(lake, TABLE) == (gone,)
    assert forget_gone(lake, TABLE) == ()
    assert lake.open(TABLE).version() == version + 1
    assert len(held(lake)) == 2
    assert lake.open(TABLE).transaction_version("a") == 3


def test_two_that_forget_the_same_files_are_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where another took the files out of the log meanwhile, that is no error."""
    append_once(lake, TABLE, [stream(0, 1)])
    [gone] = paths(lake)
    (Path(lake.uri(TABLE)) / gone).unlink()
    opened = lake.open

    def open_then_another(table: Table) -> object:
        handle = opened(table)
        monkeypatch.undo()
        assert forget_gone(lake, TABLE) == (gone,)
        return handle

    monkeypatch.setattr(Lake, "open", lambda _self, table: open_then_another(table))
    assert forget_gone(lake, TABLE) == ()
    assert held(lake) == []


def test_a_file_that_was_set_aside_is_gone_and_kept(lake: Lake) -> None:
    """Law: its rows are no more in the table, its bytes are where its name says, and a full vacuum leaves them."""
    append_once(lake, TABLE, [stream(0, 1)])
    file = Path(lake.uri(TABLE)) / paths(lake)[0]
    content = file.read_bytes()
    kept = set_aside(lake, TABLE, file)
    assert forget_gone(lake, TABLE) == (file.relative_to(lake.uri(TABLE)).as_posix(),)
    lake.open(TABLE).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
    assert kept.read_bytes() == content
    assert held(lake) == []


def test_a_table_that_cannot_be_written_is_told(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: attempts end, with the cause."""

    class Refusing:
        def repair(self) -> None:
            raise CommitFailedError("no space left on device")

    monkeypatch.setattr(Lake, "open", lambda *_: Refusing())
    with pytest.raises(Exception, match=r"essai that are gone could not be taken.*no space left on device"):
        forget_gone(lake, TABLE)
