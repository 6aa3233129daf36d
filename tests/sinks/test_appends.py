from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.tables import files
from sinks import appends
from sinks.appends import Stream, append_once, covered

TABLE = Table("essai", pa.schema([("name", pa.string()), ("offset", pa.int64())]), (), "a table of these tests")


def stream(name: str, start: int, end: int) -> Stream:
    offsets = np.arange(start, end)
    rows = pa.table({"name": pa.repeat(name, end - start), "offset": offsets}, schema=TABLE.schema)
    return Stream(name, rows, "offset", end)


def held(lake: Lake) -> list[tuple[str, int]]:
    rows = files.dataset(lake, files.listing(lake, TABLE))  # noqa: F841 - DuckDB finds it by its name
    return duckdb.sql('SELECT name, "offset" FROM rows ORDER BY ALL').fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    made.create(TABLE)
    return made


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(1, 9)), max_size=8))
def test_repeated_and_overlapping_appends_add_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int, int]]
) -> None:
    """Law: whatever part of a stream is appended again, the table holds each of its positions once."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    lake.create(TABLE)
    ends = {"a": 0, "b": 0}
    for name, back, length in moves:
        start = max(ends[name] - back, 0)
        append_once(lake, TABLE, [stream(name, start, start + length)])
        ends[name] = max(ends[name], start + length)
    assert held(lake) == [(name, offset) for name in "ab" for offset in range(ends[name])]
    assert {name: covered(lake, TABLE, name) or 0 for name in "ab"} == ends


def test_a_commit_whose_answer_is_lost_is_not_repeated(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a commit that landed though its writer saw an error is found on comparing, and adds nothing again."""
    write = appends.write_deltalake

    def write_and_lose_the_answer(*arguments: object, **options: object) -> None:
        write(*arguments, **options)
        monkeypatch.setattr(appends, "write_deltalake", write)
        raise OSError("the connection was reset")

    monkeypatch.setattr(appends, "write_deltalake", write_and_lose_the_answer)
    append_once(lake, TABLE, [stream("a", 0, 5)])
    assert held(lake) == [("a", offset) for offset in range(5)]


def test_a_writer_that_lost_its_partition_adds_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: of two writers of one stream that overlap in time, the later commit adds only what the earlier one left."""
    write = appends.write_deltalake

    def write_after_another(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(appends, "write_deltalake", write)
        append_once(lake, TABLE, [stream("a", 0, 7)])
        write(*arguments, **options)

    monkeypatch.setattr(appends, "write_deltalake", write_after_another)
    append_once(lake, TABLE, [stream("a", 0, 10)])
    assert held(lake) == [("a", offset) for offset in range(10)]


def test_a_table_that_never_takes_the_commit_is_an_error_with_its_cause(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: attempts end; the error names the table, the last cause and what to look at."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise CommitFailedError("no space left on device")

    monkeypatch.setattr(appends, "write_deltalake", refuse)
    with pytest.raises(LakeError, match=r"essai could not be written.*no space left on device.*rights to write"):
        append_once(lake, TABLE, [stream("a", 0, 5)])
