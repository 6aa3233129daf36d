"""The topics, on a real broker."""

import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from salesviews import settings as settings_module
from salesviews import topics
from salesviews.errors import BrokerError, SettingError
from salesviews.machine import ports
from salesviews.settings import Settings
from salesviews.views import HOURLY_SALES


def test_create_makes_what_is_declared(settings: Callable[..., Settings]) -> None:
    """Each topic has its partitions and its configuration; raw messages are kept for good."""
    mine = settings(PARTITIONS=3)
    topics.create(mine)
    admin = AdminClient(mine.kafka_config)
    existing = admin.list_topics(timeout=30).topics
    for topic in topics.all_topics(mine):
        assert len(existing[topic.name].partitions) == topic.partitions
        resource = ConfigResource("topic", topic.name)
        config = admin.describe_configs([resource])[resource].result()
        assert {name: config[name].value for name in topic.config} == topic.config
    assert len(existing[mine.topic].partitions) == 3
    assert topics.raw(mine).config["retention.ms"] == "-1"


def test_create_is_safe_from_several_processes_at_once(settings: Callable[..., Settings]) -> None:
    """Who comes second finds the topics there: no error, and no topic is made again."""
    mine = settings()
    failures: list[BaseException] = []

    def create() -> None:
        try:
            topics.create(mine)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    before = topics.topic_id(mine, mine.topic)
    topics.create(mine)
    assert topics.topic_id(mine, mine.topic) == before


def test_messages_of_a_changelog_tell_that_there_were_figures(settings: Callable[..., Settings]) -> None:
    """Law: of one's own instance, and of the asked generation or a later one; empty changelogs tell nothing."""
    mine, other = settings(), settings()
    admin = AdminClient(mine.kafka_config)
    names = {
        number: f"changelog__{topics.views_group(mine, number)}--{topics.typees(mine, number).name}--default"
        for number in (0, 1, 2)
    }
    others = f"changelog__{topics.views_group(other)}--{topics.typees(other).name}--default"
    for made in admin.create_topics([NewTopic(name, 1) for name in (*names.values(), others)]).values():
        made.result()
    producer = Producer(mine.kafka_config)
    for name in (names[0], names[1], others):
        producer.produce(name, b"sums", b"key")
    assert producer.flush(30) == 0
    assert [topics.counted(mine, first) for first in (0, 1, 2)] == [[names[0], names[1]], [names[1]], []]


@pytest.mark.parametrize(
    ("config", "is_told"),
    [
        ({}, False),
        ({"message.timestamp.after.max.ms": str(3 * 24 * 3600 * 1000)}, True),
        ({"message.timestamp.after.max.ms": str(2**63 - 1), "message.timestamp.type": "LogAppendTime"}, False),
    ],
    ids=["as Kafka 4 has it", "three days", "the broker's clock"],
)
def test_a_topic_that_takes_times_far_ahead_is_told(
    settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture, config: dict[str, str], is_told: bool
) -> None:
    """Law: where a wrong clock could empty the memory of ids, ingest says so, with the setting that prevents it."""
    mine = settings()
    admin = AdminClient(mine.kafka_config)
    [made] = admin.create_topics([NewTopic(mine.topic, 1, config=config)]).values()
    made.result()
    topics.warn_of_future_times(mine)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert bool(told) is is_told
    assert all("3 days ahead" in each and "message.timestamp.after.max.ms" in each for each in told)


def test_a_topic_made_again_has_another_id(settings: Callable[..., Settings], eventually: Callable) -> None:
    """A topic that is deleted and created again is a new source."""
    mine = settings()
    topics.create(mine)
    before = topics.topic_id(mine, mine.topic)
    admin = AdminClient(mine.kafka_config)
    admin.delete_topics([mine.topic], operation_timeout=30)[mine.topic].result()
    eventually(lambda: mine.topic not in admin.list_topics(timeout=30).topics, 30, "the topic is gone")
    topics.create(mine)
    assert topics.topic_id(mine, mine.topic) != before


RAW_TOPICS = ("ventes", "a", "b", "ventes-demo-1", "vues", "a-views", "a-views--a", "a-views--a-typees--b", "eu.ventes")


def owned(settings: Settings) -> set[str]:
    """What an instance has on Kafka in three generations: topics, groups, changelogs."""
    names = {topics.replay_group(settings)}
    for number in (0, 1, 12):
        typed, group = topics.typees(settings, number).name, topics.views_group(settings, number)
        stores = ("default", "groupby--heure--vues-heure_tumbling_window_3600000_sommes")
        names |= {topic.name for topic in topics.all_topics(settings, number)}
        names |= {topics.ingest_group(settings, number), group}
        names |= {f"changelog__{group}--{typed}--{store}" for store in stores}
    return names


def test_instances_on_one_kafka_share_nothing_and_take_nothing_for_their_own() -> None:
    """Law: with two raw topics no topic, group or changelog is both instances', whatever the raw topics are called.

    Nor does a rebuild of one, which deletes its older generations, find any of the other's.
    """
    instances = [settings_module.read({"SALESVIEWS_TOPIC": name}) for name in RAW_TOPICS]
    for one, other in itertools.permutations(instances, 2):
        assert owned(one).isdisjoint(owned(other))
        assert topics.generations(one, owned(other)) == {}
    for one in instances:
        found = topics.generations(one, owned(one))
        assert sorted(found.values()) == sorted([0, 1, 12] * 5)  # typed batches, two groups, two changelogs
        assert set(found) < owned(one)


def test_views_of_the_default_topic_are_published_under_their_bare_names() -> None:
    """Law: ``vues-<view>`` for ``ventes``, and with the raw topic's name before it for any other."""
    default, other = settings_module.read({}), settings_module.read({"SALESVIEWS_TOPIC": "eu.sales_v2"})
    assert topics.vues(default, HOURLY_SALES).name == "vues-hourly_sales"
    assert topics.vues(other, HOURLY_SALES).name == "eu.sales_v2-vues-hourly_sales"


@pytest.mark.parametrize("instance", RAW_TOPICS)
def test_what_an_instance_writes_is_no_raw_topic_of_another(instance: str) -> None:
    """Law: a topic that salesviews writes is refused as a raw topic, with the setting: it would feed on itself."""
    mine = settings_module.read({"SALESVIEWS_TOPIC": instance})
    groups = {topics.replay_group(mine)} | {
        group(mine, number) for group in (topics.ingest_group, topics.views_group) for number in (0, 1, 12)
    }
    for name in owned(mine) - groups - {instance}:
        with pytest.raises(SettingError, match=f"SALESVIEWS_TOPIC='{re.escape(name)}'"):
            settings_module.read({"SALESVIEWS_TOPIC": name})


def test_no_broker_is_told_with_its_address(tmp_path: Path) -> None:
    """The error names the address and what to check."""
    port = ports.free()
    nowhere = settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_BROKER": f"127.0.0.1:{port}"})
    with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{port}.*SALESVIEWS_BROKER"):
        topics.create(nowhere, timeout_s=0.5)


def test_a_missing_topic_is_told(settings: Callable[..., Settings]) -> None:
    """Asking for the id of a topic that does not exist names it."""
    with pytest.raises(BrokerError, match="no-such-topic"):
        topics.topic_id(settings(), "no-such-topic")
