from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from salesviews import lake
from salesviews.errors import GapError
from salesviews.tables import files
from salesviews.typed import Interval, SourcePartition
from sinks.bronze import BronzeBatch, BronzeSink

SOURCE = SourcePartition("id-a", 3, "ventes")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def batch(start: int, end: int, lost: int = 0) -> BronzeBatch:
    rows = [
        {
            "payload": b"{}",
            "topic_id": SOURCE.topic_id,
            "partition": 3,
            "offset": offset,
            "kafka_timestamp": NOW,
            "date_ingestion": NOW,
            "jour": date(2026, 1, 2),
        }
        for offset in range(start + lost, end)
    ]
    return BronzeBatch(Interval(SOURCE, start, end, lost, end), pa.Table.from_pylist(rows, schema=lake.BRONZE.schema))


@pytest.fixture
def target(tmp_path: Path) -> lake.Lake:
    return lake.Lake(str(tmp_path / "lake"))


@pytest.fixture
def sink(target: lake.Lake) -> BronzeSink:
    made = BronzeSink(target, lambda: None)
    made.start()
    return made


def offsets(target: lake.Lake) -> list[int]:
    bronze = files.dataset(target, files.listing(target, lake.BRONZE))
    return sorted(bronze.to_table(["offset"]).column("offset").to_pylist())


def test_a_replay_after_a_crash_adds_each_position_once(sink: BronzeSink, target: lake.Lake) -> None:
    """Law: batches that are cut differently the second time leave one row a position."""
    sink.add(batch(0, 4))
    sink.add(batch(4, 6))
    sink.flush()
    successor = BronzeSink(target, lambda: None)
    successor.start()
    successor.add(batch(2, 9))
    successor.flush()
    assert offsets(target) == list(range(9))


def test_a_hole_in_bronze_is_refused(sink: BronzeSink, target: lake.Lake) -> None:
    """Law: ingest that goes on beyond what Bronze holds stops, names both positions and the command that mends it."""
    sink.add(batch(5, 9))
    with pytest.raises(GapError, match=r"up to position 0.*goes on at 5: 5 positions.*salesviews replay"):
        sink.flush()
    assert offsets(target) == []


def test_positions_that_kafka_deleted_are_no_hole(sink: BronzeSink, target: lake.Lake) -> None:
    """Law: positions that were lost before they were read are covered by the interval that names them."""
    sink.add(batch(0, 9, lost=5))
    sink.flush()
    assert offsets(target) == [5, 6, 7, 8]


def test_positions_that_come_twice_before_a_flush_are_added_once(sink: BronzeSink, target: lake.Lake) -> None:
    """Law: a partition that was lost and given back is read again, beside what was gathered of it."""
    sink.add(batch(0, 4))
    sink.flush()
    for start, end in ((4, 9), (4, 6), (6, 12), (10, 11)):
        sink.add(batch(start, end))
    sink.flush()
    assert offsets(target) == list(range(12))
    assert sink.covered(SOURCE) == 12


def test_nothing_is_appended_before_what_was_produced_is_in_kafka(target: lake.Lake) -> None:
    """Law: where the producer's flush fails, Bronze records none of the positions."""

    def fail() -> None:
        raise ConnectionError("not delivered")

    sink = BronzeSink(target, fail)
    sink.start()
    sink.add(batch(0, 4))
    with pytest.raises(ConnectionError):
        sink.flush()
    assert (offsets(target), sink.covered(SOURCE)) == ([], 0)
