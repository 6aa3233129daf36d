from collections.abc import Callable
from typing import Any

from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from groups import delete
from oracle import Oracle
from pipelines import Pipeline, Sales, assert_silver_is, in_total_order, raw_messages

from salesviews import topics

SALES = 900


def test_what_happens_to_the_raw_topic_loses_and_repeats_nothing(
    pipeline: Pipeline, eventually: Callable[..., Any]
) -> None:
    """Law: partitions that are added are read in seconds; a group that lost its offsets counts nothing twice; a topic
    that is deleted and created again is new data, also where it has more messages than the old one at once. Producers
    with transactions, some aborted, are fine all along.
    """
    settings, topic = pipeline.settings, pipeline.settings.topic
    admin = AdminClient(settings.kafka_config)
    pipeline.start_supervised()
    Sales(settings, 1_000).send(SALES)
    eventually(pipeline.has_counted_all, 120, "the first sales counted")

    admin.create_partitions([NewPartitions(topic, settings.partitions + 2)])[topic].result()
    sales = Sales(settings, 2_000)
    for _ in range(6):
        sales.send(SALES // 6)
    assert all(pipeline.ends(topic).values())
    eventually(pipeline.has_counted_all, 30, "the sales of new partitions counted")

    assert pipeline.programs.pop("up").terminate() == 0
    eventually(lambda: delete(settings, topics.ingest_group(settings)), 60, "the group's offsets deleted")
    Sales(settings, 3_000).send(SALES)
    pipeline.start_supervised()
    eventually(pipeline.has_counted_all, 120, "sales counted after the offsets were lost")

    earlier = raw_messages(settings)
    with pipeline.stopped("ingest"):  # which finds messages at the offset where it stopped, and must not take them
        admin.delete_topics([topic])[topic].result()
        admin.create_topics([NewTopic(topic, settings.partitions + 2)])[topic].result()
        Sales(settings, 4_000).send(5 * SALES)
    eventually(pipeline.has_counted_all, 120, "the sales of the new topic counted")
    assert pipeline.run("audit")["holds"]
    messages = in_total_order(pipeline, earlier)
    assert len({message.topic_id for message in messages}) == 2
    assert_silver_is(pipeline, Oracle(messages))
    result = pipeline.run("replay")
    assert (result["complete"], result["added"]) == (True, 0)
