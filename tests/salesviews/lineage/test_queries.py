"""Questions to a snapshot: bounded, and with errors that say what to do."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from salesviews import lake
from salesviews.errors import LakeError, LineageError
from salesviews.lake import Lake
from salesviews.lineage.queries import Bounds, Queries
from salesviews.manifest import Manifest
from salesviews.typed import SourcePartition

SOURCE = SourcePartition("topic-1", 0, "ventes")
ENDLESS = "SELECT sum(a.range * b.range) AS total FROM range(1000000) AS a, range(1000000) AS b"
LARGE = "CREATE TEMP TABLE large AS SELECT range AS number, repeat('x', 100) || range AS text FROM range(2000000)"


@pytest.fixture
def source(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    for table in lake.TABLES:
        made.create(table)
    return made


def snapshot(source: Lake) -> Manifest:
    tables = {table.name: source.open(table).version() for table in lake.SILVER}
    return Manifest(1, datetime(2026, 1, 1, tzinfo=UTC), 0, 10, {SOURCE: 5}, True, tables)


def test_time_is_bounded_within_a_query(source: Lake) -> None:
    """Law: a query that would run for ever is ended, and so is every one after it."""
    with Queries(source, snapshot(source), Bounds(time_s=0.5)) as queries:
        for _ in range(2):
            with pytest.raises(LineageError, match=r"more than the 0\.5 s"):
                queries.rows(ENDLESS)


def test_memory_is_bounded_unless_it_may_spill(source: Lake, tmp_path: Path) -> None:
    """Law: what does not fit ends with a message; with a folder it goes on there, and leaves nothing behind."""
    with (
        Queries(source, snapshot(source), Bounds(memory_mb=64)) as queries,
        pytest.raises(LineageError, match="more than the 64 MB"),
    ):
        queries.run(LARGE)
    folder = tmp_path / "spill"
    folder.mkdir()
    with Queries(source, snapshot(source), Bounds(memory_mb=64, spill_folder=str(folder))) as queries:
        queries.run(LARGE)
        assert queries.value("SELECT count(*) FROM large") == 2_000_000
    assert not [each for each in folder.rglob("*") if each.is_file()]


@pytest.mark.parametrize("table", [lake.BRONZE, lake.CLEAN, lake.REJECTED], ids=lambda table: table.name)
def test_an_empty_table_is_a_relation(source: Lake, table: lake.Table) -> None:
    """Law: a table without files has its columns and no rows."""
    with Queries(source, snapshot(source), Bounds()) as queries:
        assert queries.rows(f'SELECT topic_id, "offset" FROM {queries.relation(table)}') == []


def test_source_partitions_are_numbered(source: Lake) -> None:
    """Law: those of the snapshot come first, and none is numbered twice."""
    with Queries(source, snapshot(source), Bounds()) as queries:
        more = SourcePartition("a-topic", 3, "ventes")
        queries.add_sources([more, SOURCE, more])
        assert queries.sources == [SOURCE, more]
        assert queries.rows("SELECT number, topic_id FROM sources ORDER BY number") == [
            {"number": 0, "topic_id": "topic-1"},
            {"number": 1, "topic_id": "a-topic"},
        ]


def test_a_version_that_is_gone_is_told(source: Lake) -> None:
    """Law: a snapshot whose tables are not there any more is no empty answer."""
    older = snapshot(source)
    older.tables[lake.CLEAN.name] = 41
    with (
        Queries(source, older, Bounds()) as queries,
        pytest.raises(LakeError, match="Version 41 of silver/ventes_clean"),
    ):
        queries.relation(lake.CLEAN)
