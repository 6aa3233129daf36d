import hashlib
import inspect
import pickle
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from quixstreams import Application
from quixstreams.checkpointing.exceptions import CheckpointProducerTimeout
from quixstreams.dataframe.windows.time_based import FixedTimeWindow
from quixstreams.exceptions.assignment import PartitionAssignmentError

from processors import ingest
from processors.columnar import Shared, split
from salesviews import lake, manifest, topics
from salesviews.errors import BrokerError, StateError
from salesviews.lake import Lake
from salesviews.settings import Settings

MESSAGES = 500


READ = {
    Application._process_message: "29d0171a33f113c4e2637a2944e6a6e9ef5e558158e3898e62d438cfeb373973",
    Application._run_dataframe: "3309c346f81356b2a486f1e15987cfe4abef9fe164a1d9e8b5133c7db54ce06c",
    Application._on_revoke: "3583f0b20d3bfa387ff61dcdd3c489f07c6e969485186ab7a8f0a687e9025182",
    Application._on_lost: "0edfd426aa05472a41d240428eea4f25e2bfa22e4058b7c90aa81fbb79de3e7c",
    FixedTimeWindow.process_window: "c826f3e1525a6062d5c29616033137fafcf2d377e40cb6654758960c8ea51629",
    FixedTimeWindow.current: "640fd4e91e14ea2b18a6333b4d7236cf8b8b090d4f5cd7a32536f3cfc60d0bb8",
}
"""The methods that are overridden or built on, with the digests of their sources as they were read."""


@pytest.mark.parametrize("method", READ, ids=lambda method: method.__qualname__)
def test_what_is_overridden_is_what_was_read(method: Callable[..., Any]) -> None:
    """Law: ``ColumnarApplication`` and ``PagedWindow`` stand on what these methods do; where one changes, look again.

    Compare it with what overrides it, mend that, then this sum.
    """
    assert hashlib.sha256(inspect.getsource(method).encode()).hexdigest() == READ[method]


@dataclass(frozen=True, eq=False)
class Value(Shared):
    number: int


def test_branches_share_a_value() -> None:
    """Law: the copy that Quix Streams makes for a branch is the value itself."""
    value = Value(1)
    assert pickle.loads(pickle.dumps(value)) is value


def test_a_poll_is_split_by_partition_in_order(
    settings: Callable[..., Settings], eventually: Callable[..., Any]
) -> None:
    """Law: the batches of a poll hold each of its messages once, each batch one partition's, in its order."""
    used = settings(PARTITIONS=3)
    topics.create(used)
    producer = Producer(used.kafka_config)
    for number in range(MESSAGES):
        producer.produce(used.topic, str(number).encode(), partition=number % 3, headers=[("n", str(number).encode())])
    producer.flush()
    consumer = Consumer({**used.kafka_config, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([used.topic])
    messages: list[Any] = []
    eventually(lambda: messages.extend(consumer.consume(MESSAGES, 0.2)) or len(messages) == MESSAGES)
    consumer.close()

    batches = split(messages)
    assert sorted(batch.partition for batch in batches) == [0, 1, 2]
    for batch in batches:
        expected = [str(number).encode() for number in range(MESSAGES) if number % 3 == batch.partition]
        rows = batch.rows
        assert batch.poll.values()[rows] == [message.value() for message in batch.messages] == expected
        assert batch.poll.keys()[rows] == [None] * len(expected)
        assert batch.poll.headers()[rows] == [[("n", value)] for value in expected]
        assert batch.poll.offsets()[rows].tolist() == list(range(len(expected)))
        assert (batch.poll.timestamps_ms() > 0).all()
        assert (batch.first_offset, batch.last_offset) == (0, len(expected) - 1)


def test_what_a_process_says_last_is_its_own(
    settings: Callable[..., Settings], start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Law: at its end no package adds lines of its own, behind which the reason for an end would not be seen."""
    ingest = start_process("ingest", settings=settings())
    eventually(lambda: "now processing" in ingest.output)
    assert ingest.terminate() == 0
    assert ingest.output.splitlines()[-1].endswith("Stopping the application")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KafkaException, KafkaError(KafkaError._TRANSPORT)), (CheckpointProducerTimeout, "5 messages are left")],
)
def test_a_failure_of_kafka_is_one_message(
    settings: Callable[..., Settings], error: type[Exception], reason: object
) -> None:
    """Law: whichever library says it, the process ends with the broker's address and the reason, and no traceback."""
    used = settings()
    application = ingest.build(used)
    with (
        mock.patch.object(Application, "run", side_effect=error(reason)),
        pytest.raises(BrokerError, match=f"Kafka at {used.broker} does not answer as it must: .*next one goes on"),
    ):
        application.run()


def test_a_state_that_cannot_be_used_is_named(settings: Callable[..., Settings]) -> None:
    """Law: damaged files are told with their folder and what to do, however many errors are around that of RocksDB."""
    used = settings()
    application = ingest.build(used)

    def run(*_: Any, **__: Any) -> None:
        said = Exception("IO error: No such file or directory: While open a file")
        raise PartitionAssignmentError("Error during partition assignment") from said

    folder = re.escape(str(used.state_folder))
    with mock.patch.object(Application, "run", run), pytest.raises(StateError, match=f"{folder}.*delete the folder"):
        application.run()


def test_a_state_whose_changelog_is_lost_is_named(
    settings: Callable[..., Settings], start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Law: changelogs that were deleted and made again, beside a state that was not, are told with the folder and with
    what computes the sums again: Kafka itself answers as it must.
    """
    used = settings(PARTITIONS=1, SNAPSHOT_INTERVAL_S=0.2, BRONZE_INTERVAL_S=0.2)
    topics.create(used)
    producer = Producer(used.kafka_config)
    start_process("ingest", settings=used)
    counting = start_process("views", settings=used)
    target = Lake.of(used)
    for sent in (1, 2, 3):  # a snapshot of each: the state is that far
        producer.produce(used.topic, b"{}")
        producer.flush()
        eventually(
            lambda sent=sent: (
                target.exists(lake.SNAPSHOTS)
                and (newest := manifest.read(target)) is not None
                and sum(newest.positions.values()) == sent
            )
        )
    assert counting.terminate() == 0
    admin = AdminClient(used.kafka_config)
    group = topics.views_group(used)
    lost = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"changelog__{group}")]
    assert lost
    for deleted in admin.delete_topics(lost).values():
        deleted.result()
    eventually(lambda: not set(lost) & set(admin.list_topics(timeout=10).topics))
    for made in admin.create_topics(
        [NewTopic(name, 1, config={"cleanup.policy": "compact"}) for name in lost]
    ).values():
        made.result()
    for name in lost:  # something is in it: less than the state has
        producer.produce(name, b"", key=b"")
    producer.flush()
    counting = start_process("views", settings=used)
    assert counting.wait() == 1
    assert str(used.state_folder / group) in counting.output.splitlines()[-1]
    assert "salesviews rebuild" in counting.output.splitlines()[-1]
