import random
from collections.abc import Callable

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pipelines import read_topic, topic_ends

from processors import spans
from processors.spans import DeletedError, SpanReader
from salesviews import topics
from salesviews.settings import Settings
from salesviews.tables.ranges import Ranges

SEED = 11
ROUNDS = 12
MESSAGES = 300


@pytest.fixture
def used(settings: Callable[..., Settings]) -> Settings:
    """A topic with transactions in partition 0, of which every third is aborted; plain messages in 1; none in 2."""
    made = settings(PARTITIONS=3)
    topics.create(made)
    producer = Producer({**made.kafka_config, "transactional.id": made.topic})
    producer.init_transactions(30)
    for number in range(MESSAGES // 10):
        producer.begin_transaction()
        for place in range(10):
            producer.produce(made.topic, f"{number}/{place}".encode(), partition=0)
        producer.flush()
        (producer.abort_transaction if number % 3 == 0 else producer.commit_transaction)(30)
    plain = Producer(made.kafka_config)
    for number in range(MESSAGES):
        plain.produce(made.topic, str(number).encode(), partition=1)
    assert plain.flush(30) == 0
    return made


def read(reader: SpanReader) -> list[tuple[int, int, bytes]]:
    found = []
    for batches in reader.polls():
        for batch in batches:
            found += [(message.partition(), message.offset(), message.value()) for message in batch.messages]
            assert {message.partition() for message in batch.messages} == {batch.partition}
    return found


@pytest.mark.parametrize("through", [1, 40])
def test_what_is_wanted_is_given_once_and_in_order(
    used: Settings, monkeypatch: pytest.MonkeyPatch, through: int
) -> None:
    """Law: of any wanted positions the committed messages are given, and nothing else, and the reading ends.

    Also where the last wanted positions are transaction markers or aborted messages, which Kafka does not give.
    """
    monkeypatch.setattr(spans, "READ_THROUGH", through)
    held = {(message.partition(), message.offset()): message.value() for message in read_topic(used, used.topic)}
    last = topic_ends(used, used.topic)
    assert len([place for place in held if place[0] == 0]) == MESSAGES * 2 // 3 < last[0]
    generator = random.Random(SEED + through)
    for number in range(ROUNDS):
        wanted = {
            partition: Ranges.of(
                (start, min(start + generator.randint(1, 60), end))
                for start in generator.choices(range(end or 1), k=generator.randint(0, 5))
            )
            for partition, end in last.items()
        }
        if number == 0:
            wanted = {partition: Ranges.span(0, end) for partition, end in last.items()}
        reader = SpanReader(used, used.topic, wanted)
        found = read(reader)
        expected = {
            place: value
            for place, value in held.items()
            if any(start <= place[1] < end for start, end in wanted[place[0]])
        }
        assert {(partition, offset): value for partition, offset, value in found} == expected, f"round {number}"
        assert len(found) == len(expected)
        for partition, ranges in wanted.items():
            offsets = [offset for at, offset, _ in found if at == partition]
            assert offsets == sorted(offsets)
            assert not len(ranges) or reader.position(partition) >= ranges.ends[-1]
        assert reader.left == 0


def test_positions_that_kafka_deleted_are_told(used: Settings) -> None:
    """Law: where a wanted position is not held any more, the reading ends with that, and does not go on elsewhere."""
    place = TopicPartition(used.topic, 1, 100)
    admin = AdminClient(used.kafka_config)  # kept: its answers do not come once it is gone
    admin.delete_records([place])[place].result()
    assert len(read(SpanReader(used, used.topic, {1: Ranges.span(100, 120)}))) == 20
    with pytest.raises(DeletedError, match=rf"{used.topic}\[1\] at 99"):
        read(SpanReader(used, used.topic, {1: Ranges.span(99, 120)}))


def test_a_reading_is_no_member_of_a_group(used: Settings) -> None:
    """Law: it commits nothing, so that Kafka knows no group of it."""
    read(SpanReader(used, used.topic, {1: Ranges.span(0, MESSAGES)}))
    admin = AdminClient(used.kafka_config)
    listed = admin.list_consumer_groups().result()
    assert topics.replay_group(used) not in {group.group_id for group in listed.valid}
