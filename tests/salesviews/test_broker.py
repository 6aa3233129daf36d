"""The embedded Kafka."""

from confluent_kafka import Producer

from salesviews import topics


def test_the_shared_broker_answers(settings):
    mine = settings()
    topics.create(mine)
    assert topics.topic_id(mine, mine.topic)
    producer = Producer(mine.kafka_config)
    producer.produce(mine.topic, b"x" * 10)
    assert producer.flush(30) == 0
