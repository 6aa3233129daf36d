"""Produces messages outside of an application, in order and without holes."""

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Producer

from processors.columnar import Outgoing
from salesviews import topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.topics import Topic

_POLL_S = 5.0
_SILENCE_S = 60.0


class Outbox:
    """A producer whose messages arrive in order, each or none that comes later: none is given up for the next one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **settings.kafka_config,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "message.max.bytes": topics.LARGEST_MESSAGE_BYTES,
                "linger.ms": 5,
                "log_level": 4,
            }
        )

    def send(self, topic: Topic, messages: Iterable[Outgoing]) -> None:
        """:raises BrokerError: if a message, of this or an earlier call, cannot be delivered"""
        for message in messages:
            while not self._accepts(topic, message):
                self._deliver()
        self._producer.poll(0)
        self._check()

    def _accepts(self, topic: Topic, message: Outgoing) -> bool:
        try:
            self._producer.produce(
                topic.name, message.value, message.key, headers=message.headers, on_delivery=self._on_delivery
            )
        except BufferError:
            return False
        return True

    def flush(self) -> None:
        """Return when all messages are in Kafka.

        :raises BrokerError: if one cannot be delivered
        """
        while len(self._producer):
            self._deliver()
        self._check()

    def _deliver(self) -> None:
        """Wait until Kafka has taken at least one more."""
        waiting, started_s = len(self._producer), time.monotonic()
        while len(self._producer) >= waiting:
            self._producer.poll(_POLL_S)
            self._check()
            if time.monotonic() - started_s > _SILENCE_S:
                raise BrokerError(f"Kafka at {self._settings.broker} took no message for {_SILENCE_S:g} s. Is it up?")

    def _on_delivery(self, error: KafkaError | None, _message: Any) -> None:
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise BrokerError(f"Kafka at {self._settings.broker} did not take a message: {self._failure.str()}.")
