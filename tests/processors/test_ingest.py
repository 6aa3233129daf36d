import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lakes import MadePoll

from processors import ingest
from processors.columnar import MessageBatch
from processors.identity import TopicIdentity
from processors.ingest import Intervals, Parser, dead_letters, typed_messages
from salesviews import lake, settings, topics, typed
from salesviews.errors import FencedError, GapError
from salesviews.typed import Interval, SourcePartition
from sinks.bronze import BronzeBatch, BronzeSink

SOURCE = SourcePartition("id-a", 2, "ventes")


@dataclass
class Group:
    """What Kafka would say of the group and the partition."""

    committed: int | None = None
    low: int = 0
    end: int = -1001
    identity: str = "id-a"
    asked: list[str] = field(default_factory=list)

    def committed_offset(self, _topic: str, _partition: int) -> int | None:
        self.asked.append("committed")
        return self.committed

    def low_offset(self, _topic: str, _partition: int) -> int:
        self.asked.append("low")
        return self.low

    def known_end_offset(self, _topic: str, _partition: int) -> int:
        return self.end


@dataclass(frozen=True)
class Offset:
    number: int

    def offset(self) -> int:
        return self.number


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group()
    monkeypatch.setattr(topics, "topic_id", lambda *_, **__: made.identity)
    return made


@pytest.fixture
def bronze(tmp_path: Path) -> BronzeSink:
    made = BronzeSink(lake.Lake(str(tmp_path / "lake")), lambda: None)
    made.start()
    return made


def record(bronze: BronzeSink, end: int) -> None:
    """Let Bronze record every position before one."""
    bronze.add(BronzeBatch(Interval(SOURCE, 0, end, 0, end), lake.BRONZE.schema.empty_table()))
    bronze.flush()


@pytest.fixture
def intervals(group: Group, bronze: BronzeSink) -> Intervals:
    application: Any = group  # the three questions that it asks
    return Intervals(application, bronze, TopicIdentity(settings.read({})))


def of(intervals: Intervals, first: int, last: int) -> tuple[int, int, int]:
    poll: Any = MadePoll([Offset(first), Offset(last)])
    made = intervals.of(MessageBatch(poll, slice(0, 2), "ventes", 2))
    assert made.source == SOURCE
    return made.start, made.end, made.lost


def test_batches_join_on_without_a_question(intervals: Intervals, group: Group) -> None:
    """Law: a batch that goes on where the last one ended costs no request to Kafka."""
    assert of(intervals, 0, 9) == (0, 10, 0)
    group.asked.clear()
    assert of(intervals, 10, 19) == (10, 20, 0)
    assert group.asked == []


def test_a_first_batch_starts_where_the_group_stands(intervals: Intervals, group: Group, bronze: BronzeSink) -> None:
    """Law: after a restart an interval starts at the committed offset, so that the positions in between are covered."""
    group.committed = 40
    record(bronze, 45)
    assert of(intervals, 43, 50) == (40, 51, 0)


def test_positions_without_messages_are_covered_and_not_lost(intervals: Intervals) -> None:
    """Law: transaction markers and compaction leave gaps; the interval spans them and counts nothing lost."""
    of(intervals, 0, 9)
    assert of(intervals, 12, 20) == (10, 21, 0)


def test_positions_that_kafka_deleted_are_lost_and_said_so(
    intervals: Intervals, group: Group, bronze: BronzeSink, caplog: pytest.LogCaptureFixture
) -> None:
    """Law: what was deleted before it was read is counted in the batch, and is an ERROR in the log."""
    group.committed, group.low = 10, 30
    record(bronze, 10)
    assert of(intervals, 32, 40) == (10, 41, 20)
    [said] = [logged for logged in caplog.records if logged.name == "processors.ingest"]
    assert said.levelname == "ERROR"
    assert "deleted 20 positions of ventes[2], from 10" in said.getMessage()


def test_a_rewound_group_repeats_from_there(intervals: Intervals, group: Group, bronze: BronzeSink) -> None:
    """Law: after a rewind an interval starts at the rewound offset, and claims no more than it holds."""
    of(intervals, 0, 99)
    record(bronze, 100)
    group.committed = 20
    assert of(intervals, 20, 49) == (20, 50, 0)


def test_a_partition_that_another_process_read_meanwhile_is_taken_up_where_it_left(
    intervals: Intervals, group: Group, bronze: BronzeSink
) -> None:
    """Law: an interval never claims positions that another process covered."""
    of(intervals, 0, 99)
    group.committed = 500
    record(bronze, 500)
    assert of(intervals, 500, 510) == (500, 511, 0)


@pytest.mark.parametrize("first", [0, 100])
def test_a_topic_that_was_created_again_ends_the_process(intervals: Intervals, group: Group, first: int) -> None:
    """Law: the messages of a new topic are never written under the old one's id, also where they join on to it."""
    of(intervals, 0, 99)
    group.identity, group.committed = "id-b", None
    with pytest.raises(FencedError, match=r"deleted and created again.*was id-a, and is id-b"):
        of(intervals, first, first + 5)


@pytest.mark.parametrize(("recorded", "low"), [(0, 0), (39, 0), (30, 39)])
def test_a_group_that_stands_beyond_bronze_is_refused(
    intervals: Intervals, group: Group, bronze: BronzeSink, recorded: int, low: int
) -> None:
    """Law: where Kafka holds positions that Bronze does not record and the group has passed, no interval is named."""
    group.committed, group.low = 40, low
    record(bronze, recorded)
    with pytest.raises(
        GapError, match=rf"up to position {recorded}.*goes on at 40: {40 - recorded}.*salesviews replay"
    ):
        of(intervals, 40, 50)


def test_what_the_group_passed_and_kafka_deleted_is_lost(
    intervals: Intervals, group: Group, bronze: BronzeSink
) -> None:
    """Law: positions that nothing can bring back are counted as lost, and do not stop anything."""
    group.committed = group.low = 40
    record(bronze, 30)
    assert of(intervals, 43, 50) == (30, 51, 10)


def test_a_group_without_offsets_starts_at_what_bronze_records(
    intervals: Intervals, group: Group, bronze: BronzeSink
) -> None:
    """Law: after offsets were lost, only positions that were never read can have been lost."""
    group.low = 60
    record(bronze, 50)
    assert of(intervals, 60, 69) == (50, 70, 10)


def test_a_rewound_group_claims_what_it_reads(intervals: Intervals, bronze: BronzeSink) -> None:
    """Law: a group without offsets reads from the beginning, and claims nothing before that."""
    record(bronze, 50)
    assert of(intervals, 0, 9) == (0, 10, 0)


def test_what_is_gathered_and_not_appended_yet_is_no_gap(intervals: Intervals, group: Group) -> None:
    """Law: a transaction marker between two batches of one checkpoint asks nothing of Bronze."""
    of(intervals, 0, 9)
    group.committed = 0
    assert of(intervals, 11, 20) == (10, 21, 0)


def parsed(payloads: list[bytes | None]) -> ingest.ParsedBatch:
    poll = MadePoll((), payloads, 100, datetime(2026, 1, 2, tzinfo=UTC))
    interval = Interval(SOURCE, 90, 100 + len(payloads), 5, 1000)
    return Parser().parse(interval, MessageBatch(poll, slice(0, len(payloads)), "ventes", 2))


def test_dead_letters_have_the_bytes_the_motif_and_the_position() -> None:
    """Law: each rejected message, and no other, has a dead letter; a tombstone's does not delete it."""
    valid = b'{"vente_id":1,"client_id":1,"montant":1,"quantite":1,"timestamp":"2026-01-01T00:00:00Z"}'
    letters = list(dead_letters(parsed([valid, None, b"{", b""])))
    assert [letter.key for letter in letters] == [b"id-a/2/101", b"id-a/2/102", b"id-a/2/103"]
    assert [letter.value for letter in letters] == [b"", b"{", b""]
    headers = [dict(letter.headers) for letter in letters]
    assert [row["motif"] for row in headers] == [b"message_vide", b"json_invalide", b"message_vide"]
    assert [row.get("tombstone") for row in headers] == [b"true", None, None]
    assert {row["offset"] for row in headers} == {b"101", b"102", b"103"}


@given(st.integers(1, 40), st.integers(1, 5000))
def test_a_large_batch_is_cut_without_a_gap(count: int, limit_bytes: int) -> None:
    """Law: however small the pieces, their intervals join on, cover the batch's, and hold its rows in order."""
    batch = parsed([json.dumps({"vente_id": number}).encode() for number in range(count)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ingest, "TYPED_MESSAGE_BYTES", limit_bytes)
        messages = list(typed_messages(batch))
    pieces = [Interval.decode(dict(message.headers)[typed.HEADER]) for message in messages]
    assert (pieces[0].start, pieces[-1].end) == (90, 100 + count)
    assert all(before.end == after.start for before, after in itertools.pairwise(pieces))
    assert [piece.lost for piece in pieces] == [5] + [0] * (len(pieces) - 1)
    rows = pa.concat_tables([typed.decode(message.value) for message in messages])
    assert rows.equals(batch.typed)
