import logging
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from programs import PATIENCE_S

from salesviews import topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from web.pipeline import KafkaObserver, Observation, Partition, PipelineWatch


def positions(*offsets: int, topic_id: str = "topic-1") -> dict[SourcePartition, int]:
    return {SourcePartition(topic_id, number, "ventes"): offset for number, offset in enumerate(offsets)}


def messages(pipeline: PipelineWatch, at: dict[SourcePartition, int]) -> list[int]:
    lag = pipeline.lag(at)
    assert lag is not None
    return [partition.messages for partition in lag]


def test_lag_is_what_kafka_has_beyond_the_positions(pipeline: PipelineWatch, kafka: Any) -> None:
    """By partition; one that no snapshot covers yet lags by all it has; a position ahead of a look lags by nothing."""
    kafka.ends = {0: 10, 1: 25, 2: 7, 3: 5}
    pipeline.look()
    assert messages(pipeline, positions(10, 20)) == [0, 5, 7, 5]
    assert messages(pipeline, positions(11, 25, 7, 5)) == [0, 0, 0, 0]


def test_a_topic_made_anew_is_another_source(pipeline: PipelineWatch, kafka: Any) -> None:
    """Positions of the deleted topic cover nothing of the new one."""
    kafka.ends = {0: 3}
    kafka.topic_id = "topic-2"
    pipeline.look()
    assert messages(pipeline, positions(100)) == [3]
    assert messages(pipeline, positions(3, topic_id="topic-2")) == [0]


def test_what_kafka_deleted_is_not_waited_for(clock: Any) -> None:
    """Messages before the first that Kafka still has will never come."""
    observed = Observation((), (Partition("ventes", "topic-1", 0, 90, 100),), {})
    pipeline = PipelineWatch(lambda: observed, clock)
    pipeline.look()
    assert messages(pipeline, {}) == [10]
    assert messages(pipeline, positions(95)) == [5]


def test_lag_is_unknown_without_kafka(pipeline: PipelineWatch, kafka: Any) -> None:
    """Before the first answer, while there is none, and where the topic does not exist."""
    assert pipeline.lag(positions(1)) is None
    kafka.missing_topics = ("ventes",)
    pipeline.look()
    assert pipeline.lag(positions(1)) is None
    kafka.missing_topics, kafka.ends = (), {0: 1}
    pipeline.look()
    assert messages(pipeline, positions(1)) == [0]
    kafka.error = BrokerError("away")
    pipeline.look()
    assert pipeline.lag(positions(1)) is None
    assert pipeline.waiting_ms(positions(1)) is None


def test_waiting_tells_a_backlog_from_the_newest_messages(pipeline: PipelineWatch, kafka: Any, clock: Any) -> None:
    """Since when there is anything beyond the positions, though there was never a moment without lag."""
    for end in (10, 20, 30):
        kafka.ends = {0: end}
        pipeline.look()
        clock.advance(seconds=2)
    assert pipeline.waiting_ms(positions(30)) == 0
    assert pipeline.waiting_ms(positions(20)) == 2000
    assert pipeline.waiting_ms(positions(19)) == 4000
    assert pipeline.waiting_ms(positions(0)) == 6000


def test_an_outage_is_one_error_and_its_end_is_told(
    pipeline: PipelineWatch, kafka: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One failure is usual while Kafka starts; an outage is logged once, however long it is."""
    caplog.set_level(logging.INFO)

    def errors() -> int:
        return sum(record.levelno == logging.ERROR for record in caplog.records)

    kafka.error = BrokerError("away")
    pipeline.look()
    assert errors() == 0
    for _ in range(5):
        pipeline.look()
    assert errors() == 1
    kafka.error = None
    pipeline.look()
    assert pipeline.trouble is None
    assert "answers again" in caplog.records[-1].getMessage()


def test_a_defect_does_not_end_the_thread(pipeline: PipelineWatch, kafka: Any, eventually: Callable[..., Any]) -> None:
    """Any error of one look is told, and the next look happens."""
    kafka.error = RuntimeError("unexpected")
    pipeline.start()
    try:
        eventually(lambda: pipeline.trouble == repr(kafka.error))
        kafka.error = None
        eventually(lambda: pipeline.latest is not None)
    finally:
        pipeline.close()


class TestKafkaObserver:
    """Against the real broker."""

    def test_topics_that_do_not_exist_are_named(self, settings: Callable[..., Settings]) -> None:
        """Nothing is created by looking."""
        mine = settings()
        observed = KafkaObserver(mine, timeout_s=PATIENCE_S)()
        assert {topics.raw(mine).name, topics.typees(mine).name} <= set(observed.missing_topics)
        assert observed.partitions == ()
        assert KafkaObserver(mine, timeout_s=PATIENCE_S)().missing_topics == observed.missing_topics

    def test_ends_and_groups(self, settings: Callable[..., Settings], eventually: Callable[..., Any]) -> None:
        """The ends of each partition with the topic's id, and what each group has read, by whom."""
        mine = settings(PARTITIONS=2)
        topics.create(mine)
        producer = Producer(mine.kafka_config)
        for number in range(7):
            producer.produce(mine.topic, b"{}", partition=0 if number < 5 else 1)
        assert producer.flush(PATIENCE_S) == 0

        observer = KafkaObserver(mine, timeout_s=PATIENCE_S)
        observed = eventually(lambda: (seen := observer()) and not seen.missing_topics and seen)
        topic_id = topics.topic_id(mine, mine.topic)
        assert observed.partitions == (
            Partition(mine.topic, topic_id, 0, 0, 5),
            Partition(mine.topic, topic_id, 1, 0, 2),
        )
        assert observed.groups["ingest"].members == ()
        assert observed.groups["ingest"].lag == 7

        consumer = Consumer(
            mine.kafka_config | {"group.id": topics.ingest_group(mine), "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([mine.topic])
        try:
            taken = 0
            while taken < 5:
                message = consumer.poll(PATIENCE_S)
                assert message is not None
                assert message.error() is None
                taken += 1
            consumer.commit(asynchronous=False)
            group = eventually(lambda: (seen := observer().groups["ingest"]).members and seen)
            assert group.id == topics.ingest_group(mine)
            assert group.state == "stable"
            assert group.lag == 2
            assert sorted(group.members[0].partitions) == [f"{mine.topic}[0]", f"{mine.topic}[1]"]
        finally:
            consumer.close()
        assert eventually(lambda: (seen := observer().groups["ingest"]).state == "empty" and seen).lag == 2

    def test_a_broker_that_is_not_there(self, settings: Callable[..., Settings], free_port: Callable[[], int]) -> None:
        """The error names the address, and what to check."""
        address = f"127.0.0.1:{free_port()}"
        with pytest.raises(BrokerError, match=address):
            KafkaObserver(settings(BROKER=address), timeout_s=0.5)()
