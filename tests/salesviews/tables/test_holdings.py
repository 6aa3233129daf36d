from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from salesviews.errors import UnreadableError
from salesviews.lake import Lake, Table
from salesviews.tables import files, holdings
from salesviews.tables.ranges import Ranges
from salesviews.typed import SourcePartition

TABLE = Table(
    "essai",
    pa.schema([("topic_id", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("jour", pa.int32())]),
    ("jour",),
    "a table of these tests",
)
OTHER = replace(TABLE, name="autre")
SOURCES = [
    SourcePartition("id-a", 0, "ventes"),
    SourcePartition("id-a", 1, "ventes"),
    SourcePartition("id-b", 0, "ventes"),
]


def append(lake: Lake, rows: list[tuple[SourcePartition, int]], table: Table = TABLE) -> None:
    columns = {
        "topic_id": [source.topic_id for source, _ in rows],
        "partition": [source.partition for source, _ in rows],
        "offset": [offset for _, offset in rows],
        "jour": [offset % 2 for _, offset in rows],
    }
    write_deltalake(lake.open(table), pa.table(columns, schema=TABLE.schema), mode="append")


ROWS = st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 30)), max_size=60)


@settings(max_examples=25, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3), st.lists(st.integers(0, 30), min_size=3, max_size=3))
def test_what_is_missing_is_what_no_row_has(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[SourcePartition, int]]], ends: list[int]
) -> None:
    """Law: of any rows, repeated and in any order and file, the positions up to an end that none has are found."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    lake.create(TABLE)
    for rows in commits:
        append(lake, rows)
    asked = dict(zip(SOURCES, ends, strict=True))
    missing = holdings.missing(lake, [files.listing(lake, TABLE)], asked)
    held = {row for rows in commits for row in rows}
    for source, end in asked.items():
        lacking = [(offset, offset + 1) for offset in range(end) if (source, offset) not in held]
        assert missing[source] == Ranges.of(lacking)


def test_rows_of_several_tables_are_taken_together(tmp_path: Path) -> None:
    """Law: a position is held if one of the tables has it; a file that cannot be read is named."""
    lake = Lake(str(tmp_path / "lake"))
    for start, table in enumerate((TABLE, OTHER)):
        lake.create(table)
        append(lake, [(SOURCES[0], offset) for offset in range(start, 10, 3)], table)
    listings = [files.listing(lake, table) for table in (TABLE, OTHER)]
    assert list(holdings.missing(lake, listings, {SOURCES[0]: 10})[SOURCES[0]]) == [(2, 3), (5, 6), (8, 9)]
    [path] = listings[1].files[(0,)]
    (Path(lake.uri(OTHER)) / path).unlink()
    with pytest.raises(UnreadableError, match=path) as raised:
        holdings.missing(lake, listings, {SOURCES[0]: 10})
    assert raised.value.file == Path(lake.uri(OTHER)) / path
