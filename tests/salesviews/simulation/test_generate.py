"""Producing to a real broker: what was counted is what the topic holds, however the run ends."""

import io
import json
import re
import signal
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pipelines import topic_ends

from salesviews import topics
from salesviews.errors import BrokerError, SettingError
from salesviews.simulation import generate, market
from salesviews.simulation.delivery import Delivery
from salesviews.simulation.market import Nature

NOW = datetime(2025, 12, 22, 14, 35, 27, 123456, tzinfo=UTC)
FIRST_ID = 1_000
BEING_CREATED = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
)
"""What a broker says of partitions whose topic was created a moment ago."""
RUN = """
from salesviews import settings
from salesviews.simulation import generate
generate.run(settings.read(), {arguments})
"""


@pytest.fixture
def ends(eventually):
    """``ends(settings)``: the end of each partition of the raw topic now."""

    def ask(settings):
        try:
            return topic_ends(settings, settings.topic)
        except KafkaException as error:
            if error.args[0].code() not in BEING_CREATED:
                raise
            return None

    return lambda settings: eventually(lambda: ask(settings), what="the ends of the partitions")


@pytest.fixture
def received(eventually, ends):
    """``received(settings)``: everything in the raw topic now, as messages by partition."""

    def read(settings):
        expected = ends(settings)
        consumer = Consumer(settings.kafka_config | {"group.id": "test", "enable.auto.commit": False})
        try:
            by_partition = {partition: [] for partition in expected}
            consumer.assign([TopicPartition(settings.topic, partition, 0) for partition in expected])

            def all_there():
                for message in consumer.consume(1_000, timeout=0.1):
                    assert message.error() is None, message.error()
                    if message.offset() < expected[message.partition()]:
                        by_partition[message.partition()].append(message)
                return all(len(by_partition[partition]) == end for partition, end in expected.items())

            eventually(all_there, what="the messages before the ends of the partitions")
            return by_partition
        finally:
            consumer.close()

    return read


def _contents(by_partition) -> Counter:
    return Counter((message.key(), message.value()) for messages in by_partition.values() for message in messages)


def _run(settings, **arguments) -> generate.Outcome:
    return generate.run(settings, **{"progress": io.StringIO(), "first_id": FIRST_ID, "clock": lambda: NOW} | arguments)


class TestHistory:
    def test_the_topic_holds_exactly_the_messages_of_the_seed(self, settings, received):
        """Every message once, whatever its content, over all partitions, with Kafka's own time."""
        chosen = settings(PARTITIONS=3)
        before = time.time()
        outcome = _run(chosen, sales=25_000, seed=7, dirty_pct=20, late_pct=5, days=30)
        by_partition = received(chosen)
        expected = market.messages(7, 25_000, NOW - timedelta(days=30), NOW, 20, 5, FIRST_ID)
        # Kafka keeps an empty key apart from none, and an empty value apart from a tombstone.
        assert _contents(by_partition) == Counter(message for batch in expected for message in batch)
        assert outcome.sent == 25_000
        assert not outcome.is_stopped
        assert len(by_partition) == 3
        assert all(by_partition.values())
        for messages in by_partition.values():
            assert all(message.timestamp()[1] / 1000 >= int(before) for message in messages)

    def test_a_full_queue_is_waited_for(self, settings, received):
        """A queue far smaller than the run loses nothing."""
        chosen = settings(KAFKA_OPTIONS=json.dumps({"queue.buffering.max.messages": "50"}))
        assert _run(chosen, sales=3_000).sent == 3_000
        assert sum(_contents(received(chosen)).values()) == 3_000

    def test_a_rate_is_not_exceeded(self, settings):
        """41 messages at 100 a second take 0.4 s or more: the first is sent at once."""
        start_s = time.monotonic()
        assert _run(settings(), sales=41, rate=100).sent == 41
        assert time.monotonic() - start_s >= 0.4

    def test_a_rate_changes_no_message(self, settings, received):
        """Pacing only decides when."""
        slow, fast = settings(), settings()
        _run(slow, sales=300, rate=3_000, dirty_pct=20)
        _run(fast, sales=300, dirty_pct=20)
        assert _contents(received(slow)) == _contents(received(fast))


class TestLive:
    def test_a_live_sale_was_made_a_moment_ago(self, settings, received):
        """Event times are the clock's, less a few hundred milliseconds."""
        chosen = settings()
        _run(chosen, sales=200, days=0, rate=2_000, dirty_pct=0, late_pct=0)
        sales = [json.loads(value) for _, value in _contents(received(chosen))]
        times = [datetime.fromisoformat(sale["timestamp"]).replace(tzinfo=UTC) for sale in sales]
        assert len(sales) == 200
        assert all(timedelta(0) < NOW - sold < timedelta(seconds=1) for sold in times)
        assert {sale["vente_id"] for sale in sales} == set(range(FIRST_ID, FIRST_ID + 200))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("arguments", ["rate=2000", "sales=10**9, days=3"])
    def test_a_signal_ends_it_with_everything_counted_in_the_topic(
        self, settings, ends, start_process, eventually, number, arguments
    ):
        """Exit status 0, and the last line names as many messages as are there."""
        chosen = settings()
        topics.create(chosen)
        program = start_process(command=[sys.executable, "-c", RUN.format(arguments=arguments)], settings=chosen)
        eventually(lambda: sum(ends(chosen).values()), what="first messages in the topic")
        program.popen.send_signal(number)
        assert program.wait() == 0, program.output
        counted = re.search(r"^Stopped: ([\d,]+) messages sent to", program.output, re.MULTILINE)
        assert counted, program.output
        assert int(counted[1].replace(",", "")) == sum(ends(chosen).values())


class TestFailure:
    def test_a_message_that_the_broker_refuses_ends_the_run(self, settings):
        """The error names the topic, the broker and the reason."""
        chosen = settings()
        raw = NewTopic(chosen.topic, 1, config={"max.message.bytes": "100"})
        admin = AdminClient(chosen.kafka_config)
        admin.create_topics([raw])[chosen.topic].result()
        with pytest.raises(
            BrokerError, match=f"topic {chosen.topic} was not delivered to {chosen.broker}: .*too large"
        ):
            _run(chosen, sales=20_000)

    def test_a_broker_that_does_not_answer_is_named(self, settings, free_port):
        """Within the message's timeout, when it goes away before the first message."""
        chosen = settings(BROKER=f"127.0.0.1:{free_port()}", KAFKA_OPTIONS='{"message.timeout.ms": "500"}')
        delivery = Delivery(chosen, threading.Event())
        delivery.send([None], [b"{}"])
        with pytest.raises(BrokerError, match=f"not delivered to {chosen.broker}: .*timed out.*refused"):
            delivery.finish()

    def test_a_stopped_run_does_not_wait_for_a_broker_that_is_gone(self, settings, free_port, monkeypatch):
        """It takes no more than the queue holds, and says how many were not acknowledged once its time is up."""
        monkeypatch.setattr("salesviews.simulation.delivery.STOPPED_FLUSH_S", 0.1)
        chosen = settings(
            BROKER=f"127.0.0.1:{free_port()}", KAFKA_OPTIONS=json.dumps({"queue.buffering.max.messages": "7"})
        )
        stop = threading.Event()
        stop.set()
        delivery = Delivery(chosen, stop)
        assert delivery.send([None] * 10, [b"{}"] * 10) == 7
        with pytest.raises(BrokerError, match=f"{chosen.broker} did not acknowledge 7 of 7 messages to {chosen.topic}"):
            delivery.finish()

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"sales": 0}, "sales=0"),
            ({"sales": -5}, "sales=-5"),
            ({"rate": -1.0}, "rate=-1.0"),
            ({"rate": float("nan")}, "rate=nan"),
            ({"rate": float("inf")}, "rate=inf"),
            ({"seed": -1}, "seed=-1"),
            ({"dirty_pct": 101.0}, "dirty=101.0"),
            ({"late_pct": -0.1}, "late=-0.1"),
            ({"dirty_pct": 60.0, "late_pct": 50.0}, "dirty=60.0 and late=50.0"),
            ({"sales": 5, "days": -1.0}, "days=-1.0"),
            ({"sales": 5, "days": float("nan")}, "days=nan"),
            ({"sales": 5, "days": 9_500.0}, "days=9500.0"),
            ({"days": 2.0}, "days=2.0"),
            ({"sales": 5, "first_id": -1}, "first_id=-1"),
            ({"sales": 5, "first_id": 2**63 - 1}, "first_id=9223372036854775807"),
        ],
    )
    def test_an_argument_that_cannot_be_used_is_named(self, arguments, named):
        """Before anything is sent: no broker is asked."""
        with pytest.raises(SettingError, match=re.escape(named)):
            _run(None, **arguments)

    def test_an_option_that_kafka_does_not_know_is_named(self, settings):
        """The setting and the option."""
        chosen = settings(KAFKA_OPTIONS='{"no.such.option": "1"}')
        with pytest.raises(SettingError, match=r"SALESVIEWS_KAFKA_OPTIONS.*no\.such\.option"):
            Delivery(chosen, threading.Event())


class TestIds:
    def test_runs_do_not_share_ids(self, settings, received):
        """Two runs of the same seed into one topic: no sale has the id of another."""
        chosen = settings()
        for _ in range(2):
            _run(chosen, sales=500, dirty_pct=0, first_id=None)
        ids = [json.loads(value)["vente_id"] for _, value in _contents(received(chosen))]
        assert len(set(ids)) == len(ids) == 1_000

    def test_later_runs_have_higher_ids_that_fit(self):
        """From one second to the one after the next, up to 2050, within 64 bits."""
        for year in (2025, 2050):
            first = generate.fresh_first_id(datetime(year, 1, 1, tzinfo=UTC))
            later = generate.fresh_first_id(datetime(year, 1, 1, 0, 0, 2, tzinfo=UTC))
            assert 0 < first + 2**33 < later < 2**63 - 2**40


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    def test_the_last_line_has_the_counts(self, settings):
        """Sales, late ones, duplicates, conflicting ones and rejections, as the outcome has them."""
        shown = io.StringIO()
        outcome = _run(settings(), sales=2_000, dirty_pct=20, late_pct=5, progress=shown)
        counts = [
            int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d(?= )", shown.getvalue().split("): ")[1])
        ]
        sales, late, duplicates, conflicting = (
            outcome.count(Nature.SALE, Nature.LATE),
            outcome.count(Nature.LATE),
            outcome.count(Nature.SAME, Nature.CONFLICTING),
            outcome.count(Nature.CONFLICTING),
        )
        assert counts == [sales, late, duplicates, conflicting, outcome.count(Nature.REJECTED)]
        assert sales + duplicates + outcome.count(Nature.REJECTED) == 2_000

    def test_a_terminal_shows_one_line_that_changes(self, settings):
        """Sent, rate and what remains, on one line until the last."""
        shown = _Terminal()
        _run(settings(), sales=60, rate=100, progress=shown)
        assert re.search(r"\r\x1b\[K\d+ of 60 messages sent, \d+/s, \d+ s remaining", shown.getvalue())
        assert shown.getvalue().count("\n") == 1
