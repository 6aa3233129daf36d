"""Kafka's side of a new generation, on the real broker."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st
from pipelines import read_topic

from processors.generation_topics import GenerationTopics
from processors.positions import Boundary, Mark, Positions
from salesviews import seed, topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from salesviews.views import HOURLY_SALES, VENTES_PAR_PAYS, VENTES_PRODUIT_PAYS, View

LARGEST = 10**38 - 1
SUMS = st.integers(-LARGEST, LARGEST)


def table(view: View, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=seed.schema(view))


def tables_of(view: View) -> st.SearchStrategy[tuple[View, pa.Table]]:
    """Rows of a view, as a rebuild computes them."""
    row = {name: st.text() for name in view.key_names} | dict.fromkeys(view.measure_names, SUMS)
    rows = st.lists(st.fixed_dictionaries(row | {"start_ms": st.integers(0, 2**50)}), max_size=5)
    return rows.map(lambda rows: (view, table(view, rows)))


TABLES = st.lists(st.sampled_from([HOURLY_SALES, VENTES_PAR_PAYS, VENTES_PRODUIT_PAYS]).flatmap(tables_of), max_size=4)


class Message:
    def __init__(self, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.value = lambda: value
        self.headers = lambda: headers


def rows_in(seeds: list[seed.Seed | None]) -> list[tuple[str, dict[str, Any]]]:
    return [(each.view, row) for each in seeds if each is not None and each.view for row in each.rows.to_pylist()]


@given(TABLES)
def test_seeds_give_back_what_was_seeded(sums: list[seed.Sums]) -> None:
    """Law: whatever the keys and however large the sums, what views reads is what the rebuild computed; there is a
    seed even where there is no sum, as it says how far was counted.
    """
    read = [seed.of_message(Message(value, headers)) for value, headers in seed.messages({"marks": []}, sums)]
    assert read
    assert all(each is not None and each.positions == {"marks": []} for each in read)
    assert rows_in(read) == [(view.name, row) for view, rows in sums for row in rows.to_pylist()]


def test_a_generation_begins_with_its_seeds_where_bronze_ends(settings: Callable[..., Settings]) -> None:
    """Law: its topic has the seeds, whole; ingest goes on where Bronze ended; its number is known as the newest."""
    mine = settings(PARTITIONS=2)
    topics.create(mine)
    producer = Producer(mine.kafka_config)
    for partition in (0, 1):
        for _ in range(9):
            producer.produce(mine.topic, b"{}", partition=partition)
    assert producer.flush(30) == 0
    topic_id = topics.topic_id(mine, mine.topic)
    sources = [SourcePartition(topic_id, partition, mine.topic) for partition in (0, 1)]
    gone = SourcePartition("an older topic", 0, mine.topic)
    positions = Positions([Mark(sources[0], 5, 5), Mark(sources[1], 7, 7)], [Boundary(20_000, [0, 0])])
    measures = {"ventes_count": 1, "revenue_total": 2**70, "quantite_totale": 3}
    rows = table(HOURLY_SALES, [{"start_ms": hour} | measures for hour in range(seed.ROWS_A_MESSAGE + 1)])
    made = GenerationTopics(mine)
    assert made.newest() == 0
    seeds = made.begin(3, positions.to_state(), iter([(HOURLY_SALES, rows)]), {sources[0]: 5, sources[1]: 7, gone: 99})
    assert made.newest() == 3
    messages = read_topic(mine, topics.typees(mine, 3).name)
    assert len(messages) == seeds == 2
    read = [seed.of_message(message) for message in messages]
    assert rows_in(read) == [("hourly_sales", row) for row in rows.to_pylist()]
    assert all(each is not None and Positions.from_state(each.positions) == positions for each in read)

    request = [ConsumerGroupTopicPartitions(topics.ingest_group(mine, 3))]
    admin = AdminClient(mine.kafka_config)
    [future] = admin.list_consumer_group_offsets(request).values()
    assert {place.partition: place.offset for place in future.result().topic_partitions} == {0: 5, 1: 7}


def test_older_generations_leave_nothing_but_the_last(
    settings: Callable[..., Settings], eventually: Callable[..., Any]
) -> None:
    """Law: topics, changelogs and groups of generations before the last one go; those of others stay, with the raw and
    all other topics, and so do those that a processor works with.
    """
    mine, other = settings(), settings()
    admin = AdminClient(mine.kafka_config)
    topics.create(other)
    for number in (0, 1, 3, 4):
        topics.create(mine, number)
        changelog = f"changelog__{topics.views_group(mine, number)}--{topics.typees(mine, number).name}--default"
        [made] = admin.create_topics([NewTopic(changelog, 1)]).values()
        made.result()
        for group in (topics.ingest_group, topics.views_group):
            place = TopicPartition(mine.topic, 0, 0)
            [made] = admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group(mine, number), [place])]
            ).values()
            made.result()

    def names() -> set[str]:
        groups = {each.group_id for each in admin.list_consumer_groups().result().valid}
        return groups | admin.list_topics(timeout=30).topics.keys()

    declared = {topic.name for topic in topics.all_topics(other)}
    eventually(lambda: names() >= declared, what="the topics are known")
    before = names()
    gone = {name for name, number in topics.generations(mine, before).items() if number in (0, 1)}
    assert len(gone) == 2 * 4
    deleted = GenerationTopics(mine).forget_older(4, kept=3)
    assert set(deleted) <= gone
    assert names() == before - gone

    consumer = Consumer({**mine.kafka_config, "group.id": topics.ingest_group(mine, 3)})
    consumer.subscribe([mine.topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    with pytest.raises(BrokerError, match="has members"):
        GenerationTopics(mine).forget_older(6, kept=4)
    consumer.close()
    assert topics.typees(mine, 3).name in names()


def test_keys_that_are_gone_are_retracted(settings: Callable[..., Settings]) -> None:
    """Law: a consumer of ``vues-`` topics is told of each row that no longer exists, by the key that it knows."""
    mine = settings()
    topics.create(mine)
    hour = 1_766_397_600_000
    removed = {
        HOURLY_SALES: pa.table({"heure": pa.array([], pa.timestamp("us", tz="UTC"))}),
        VENTES_PAR_PAYS: pa.table(
            {
                "pays": ["France"],
                "heure": pa.array([hour], pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("us", "UTC")),
            }
        ),
        VENTES_PRODUIT_PAYS: pa.table(
            {"produit_nom": ["é"], "categorie": ["x"], "pays": ["UK"], "jour": pa.array([date(2025, 12, 22)])}
        ),
    }
    assert GenerationTopics(mine).retract(removed) == 2
    told = {
        view: [
            (json.loads(message.key()), message.value()) for message in read_topic(mine, topics.vues(mine, view).name)
        ]
        for view in removed
    }
    assert told == {
        HOURLY_SALES: [],
        VENTES_PAR_PAYS: [({"pays": "France", "heure": "2025-12-22T10:00:00Z"}, None)],
        VENTES_PRODUIT_PAYS: [({"produit_nom": "é", "categorie": "x", "pays": "UK", "jour": "2025-12-22"}, None)],
    }
