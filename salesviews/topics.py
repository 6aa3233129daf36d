"""The Kafka topics of the pipeline, declared as values, and their creation.

``ventes`` and its partitions belong to the producers; the others are made by ``create`` with the configuration they
need. Instances on one Kafka differ in their raw topic, whose name all that they have there carries: topics, groups,
changelogs. Of the default one, ``ventes``, the ``vues-<view>`` do not: consumers know them by these names.
"""

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from salesviews import views
from salesviews.errors import BrokerError
from salesviews.settings import RAW_TOPIC, Settings

_log = logging.getLogger(__name__)

LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024
"""What a message of ``ventes-typees`` may have at most; ingest splits far below it, one raw message is never split."""

_CHANGELOG = "changelog__"
_STORE = r"(?:--groupby--\w+)?--(?:(?!--).)+"
"""How the name of a changelog ends. Another instance's may begin alike: a raw topic may be called `a-views--b`."""
_FOREVER = "-1"
_BROKER_CLOCK = {"message.timestamp.type": "LogAppendTime"}  # a broker refuses event times more than an hour ahead
_POLL_S = 0.1
_DAY_MS = 24 * 3600 * 1000
_AHEAD = "message.timestamp.after.max.ms"
_FAR_AHEAD_MS = _DAY_MS
_ANY_MS = 2**63 - 1
_WEEK_MS = str(7 * 24 * 3600 * 1000)


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def raw(settings: Settings) -> Topic:
    """Raw sales, any key; kept for good where this program creates it."""
    return Topic(settings.topic, settings.partitions, {"retention.ms": _FOREVER})


def rejets(settings: Settings) -> Topic:
    """Dead letters, keyed by position, compacted: a replay writes each one over itself."""
    return Topic(
        f"{settings.topic}-rejets",
        1,
        {"cleanup.policy": "compact", "max.message.bytes": str(LARGEST_MESSAGE_BYTES), **_BROKER_CLOCK},
    )


def typees(settings: Settings, generation: int = 0) -> Topic:
    """Typed batches in one partition: the total order. A work log, not an archive (Bronze is)."""
    return Topic(
        f"{settings.topic}-typees{_of(generation)}",
        1,
        {
            "retention.ms": _WEEK_MS,
            "max.message.bytes": str(LARGEST_MESSAGE_BYTES),
            **_BROKER_CLOCK,
        },
    )


def vues(settings: Settings, view: views.View) -> Topic:
    """A view's current values, keyed by key and window, compacted."""
    instance = "" if settings.topic == RAW_TOPIC else f"{settings.topic}-"
    return Topic(
        f"{instance}vues-{view.name}",
        1,
        {"cleanup.policy": "compact", "max.message.bytes": str(LARGEST_MESSAGE_BYTES), **_BROKER_CLOCK},
    )


def all_topics(settings: Settings, generation: int = 0) -> list[Topic]:
    return [
        raw(settings),
        rejets(settings),
        typees(settings, generation),
        *(vues(settings, view) for view in views.kept(views.Kept.IN_WINDOWS)),
    ]


def ingest_group(settings: Settings, generation: int = 0) -> str:
    return f"salesviews-{settings.topic}-ingest{_of(generation)}"


def views_group(settings: Settings, generation: int = 0) -> str:
    return f"salesviews-{settings.topic}-views{_of(generation)}"


def _of(generation: int) -> str:
    return f"-g{generation}" if generation else ""


def generations(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """Those of these topics and consumer groups that belong to a generation, and to which.

    Changelogs of the state of views, which Quix Streams makes, are among them.
    """
    typed, ingest, views = map(re.escape, (typees(settings).name, ingest_group(settings), views_group(settings)))
    number = "(?:-g([0-9]+))?"
    pattern = re.compile(
        f"(?:{typed}|{ingest}|{views}){number}|{_CHANGELOG}{views}{number}--{typed}(?:-g[0-9]+)?{_STORE}"
    )
    found = {name: pattern.fullmatch(name) for name in names}
    return {name: int(match[1] or match[2] or 0) for name, match in found.items() if match}


def counted(settings: Settings, first: int, timeout_s: float = 30.0) -> list[str]:
    """Changelogs of views that have messages, of a generation or a later one: that had figures.

    :raises BrokerError: if the broker does not answer
    """
    admin = AdminClient(admin_config(settings))
    try:
        known = admin.list_topics(timeout=timeout_s).topics
        changelogs = [
            name
            for name, generation in generations(settings, known).items()
            if generation >= first and name.startswith(_CHANGELOG)
        ]
        asked = {
            TopicPartition(name, partition): OffsetSpec.latest()
            for name in changelogs
            for partition in known[name].partitions
        }
        ends = admin.list_offsets(asked, request_timeout=timeout_s) if asked else {}
        return sorted({place.topic for place, end in ends.items() if end.result().offset})
    except KafkaException as error:
        raise BrokerError(f"{settings.broker} does not say what its topics hold: {error.args[0].str()}.") from error


def replay_group(settings: Settings) -> str:
    """Consumers must have a group; `salesviews replay` neither joins it nor commits to it."""
    return f"salesviews-{settings.topic}-replay"


def admin_config(settings: Settings) -> dict[str, Any]:
    """Of a client that administers; librdkafka would tell of its normal end."""
    return {**settings.kafka_config, "log_level": 4}


def create(settings: Settings, generation: int = 0, timeout_s: float = 30.0) -> None:
    """Create the topics that do not exist; safe to call from several processes at once.

    :param generation: of the figures (``salesviews.generation``), whose typed batches have a topic of their own
    :raises BrokerError: if the broker does not answer, or refuses
    """
    admin = AdminClient(admin_config(settings))
    try:
        existing = admin.list_topics(timeout=timeout_s).topics
        missing = [topic for topic in all_topics(settings, generation) if topic.name not in existing]
        if not missing:
            return
        futures = admin.create_topics(
            [NewTopic(topic.name, topic.partitions, config=topic.config) for topic in missing],
            operation_timeout=timeout_s,
        )
        for future in futures.values():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        _wait_until_known(admin, {topic.name for topic in missing}, timeout_s)
    except KafkaException as error:
        raise BrokerError(
            f"The topics cannot be created on {settings.broker}: {error.args[0].str()}. "
            "Is the broker up (`salesviews broker`), and does SALESVIEWS_BROKER name it?"
        ) from error


def _wait_until_known(admin: AdminClient, names: set[str], timeout_s: float) -> None:
    """A topic that another process has just created is not known at once."""
    deadline_s = time.monotonic() + timeout_s
    while unknown := names - admin.list_topics(timeout=timeout_s).topics.keys():
        if time.monotonic() > deadline_s:
            raise BrokerError(
                f"Kafka has created {', '.join(sorted(unknown))}, but does not know it {timeout_s:g} s later."
            )
        time.sleep(_POLL_S)


def warn_of_future_times(settings: Settings, timeout_s: float = 30.0) -> None:
    """Say so where the raw topic takes timestamps far ahead of the broker's clock, as brokers before Kafka 4 do.

    The days for which an id is remembered go by Kafka's timestamps: after one message of a producer whose clock is a
    year ahead, every id of before would be forgotten.
    """
    admin = AdminClient(admin_config(settings))
    resource = ConfigResource("topic", settings.topic)
    try:
        found = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result()
    except KafkaException as error:  # it takes a right that nothing else here needs
        _log.info("Which timestamps %s takes is not known: %s", settings.topic, error.args[0].str())
        return
    ahead_ms = int(found[_AHEAD].value) if _AHEAD in found else _ANY_MS
    if found["message.timestamp.type"].value == "CreateTime" and ahead_ms > _FAR_AHEAD_MS:
        _log.warning(
            "Topic %s takes messages whose timestamps are %s days ahead. One of a producer with a wrong clock would "
            "end the time for which ids are remembered, and what is sent again would count again. Set %s of the topic "
            "to an hour: 3600000.",
            settings.topic,
            f"{ahead_ms // _DAY_MS:,}",
            _AHEAD,
        )


def topic_id(settings: Settings, topic: str, timeout_s: float = 30.0, admin: AdminClient | None = None) -> str:
    """Kafka's id of a topic: a topic that is deleted and created again has another one.

    :param admin: an open client, for who asks often
    :raises BrokerError: if the topic does not exist or the broker does not answer
    """
    admin = admin or AdminClient(admin_config(settings))
    try:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic].result()
    except KafkaException as error:
        raise BrokerError(f"Topic {topic} cannot be described on {settings.broker}: {error.args[0].str()}.") from error
    return str(described.topic_id)
