"""Consumer groups, as an operator changes them: only while they have no member."""

from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from salesviews.settings import Settings


def set_offsets(settings: Settings, group: str, places: Sequence[TopicPartition]) -> bool:
    """Set a group's offsets; False where it has members, as far as Kafka knows."""
    admin = AdminClient(settings.kafka_config)
    try:
        asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, list(places))])
        return all(place.error is None for place in asked[group].result().topic_partitions)
    except KafkaException:
        return False


def delete(settings: Settings, group: str) -> bool:
    """Delete a group with all that it committed; False where it has members, as far as Kafka knows."""
    admin = AdminClient(settings.kafka_config)
    try:
        admin.delete_consumer_groups([group])[group].result()
    except KafkaException:
        return False
    return True
