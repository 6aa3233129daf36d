"""Sending messages to the raw topic so that the topic holds exactly what was counted, or the run fails."""

import logging
import threading
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from salesviews.errors import BrokerError, SettingError
from salesviews.settings import Settings
from salesviews.simulation.market import Key, Payload

_PRODUCER = {
    "enable.idempotence": True,  # what is sent again after a lost answer is there once
    "compression.type": "lz4",
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 256 * 1024,
    "message.timeout.ms": 60_000,
    "delivery.report.only.error": True,
}

_QUEUE_FULL_WAIT_S = 0.05
_FLUSH_CHECK_S = 0.05
STOPPED_FLUSH_S = 10.0


class Delivery:
    """A producer to the raw topic. The first message that does not arrive is an error of the next call.

    :param stop: set when the process should end soon
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self.handed_over = 0
        self._topic = settings.topic
        self._broker = settings.broker
        self._stop = stop
        self._failure: tuple[KafkaError, int] | None = None
        self._last_error: KafkaError | None = None
        try:
            self._producer = Producer(
                {
                    **_PRODUCER,
                    **settings.kafka_config,
                    "on_delivery": self._on_delivery,
                    "error_cb": self._on_error,
                    "logger": logging.getLogger("kafka"),
                }
            )
        except KafkaException as error:
            raise SettingError(
                f"SALESVIEWS_KAFKA_OPTIONS or SALESVIEWS_KAFKA_… cannot be used: {error.args[0].str()}."
            ) from error

    def send(self, keys: list[Key], payloads: list[Payload]) -> int:
        """Hand the messages over, and say how many: all of them, but after ``stop`` only those that the queue takes.

        :raises BrokerError: if a message could not be delivered, one of these or an earlier one
        """
        before = self.handed_over
        for key, payload in zip(keys, payloads, strict=True):
            while True:
                try:
                    self._producer.produce(self._topic, payload, key)
                except BufferError:
                    if self._stop.is_set():
                        return self.handed_over - before
                    self.poll(_QUEUE_FULL_WAIT_S)
                except KafkaException as error:
                    raise self._undelivered(error.args[0], len(payload or b"")) from error
                else:
                    break
            self.handed_over += 1
        self.poll(0)
        return self.handed_over - before

    def poll(self, timeout_s: float) -> None:
        """Wait until something is heard of messages, at most so long.

        :raises BrokerError: if one could not be delivered
        """
        self._producer.poll(timeout_s)
        if self._failure:
            raise self._undelivered(*self._failure)

    def finish(self) -> None:
        """Wait until every message is acknowledged; after ``stop``, at most ``STOPPED_FLUSH_S``.

        :raises BrokerError: if one is not
        """
        deadline_s = None
        while waiting := self._producer.flush(_FLUSH_CHECK_S):
            self.poll(0)
            if not self._stop.is_set():
                continue
            deadline_s = deadline_s or time.monotonic() + STOPPED_FLUSH_S
            if time.monotonic() > deadline_s:
                raise BrokerError(
                    f"Stopped, but {self._broker} did not acknowledge {waiting:,} of {self.handed_over:,} messages "
                    f"to {self._topic} within {STOPPED_FLUSH_S:g} s{self._last_error_text()}. They may be there or not."
                )
        self.poll(0)

    def _undelivered(self, error: KafkaError, size_bytes: int) -> BrokerError:
        return BrokerError(
            f"A message of {size_bytes:,} bytes to topic {self._topic} was not delivered to {self._broker}: "
            f"{error.str()}{self._last_error_text()}. Of {self.handed_over:,} messages handed over before, "
            f"up to {len(self._producer):,} were not acknowledged. Is the broker up (`salesviews broker`)?"
        )

    def _last_error_text(self) -> str:
        return f" (last error of the connection: {self._last_error.str()})" if self._last_error else ""

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error and not self._failure:
            self._failure = error, len(message)

    def _on_error(self, error: KafkaError) -> None:
        # That all brokers are down follows from errors that say why.
        if not (self._last_error and error.code() == KafkaError._ALL_BROKERS_DOWN):
            self._last_error = error
