"""Sends sales to a product: all at once, or live, and sees how long each takes to the API."""

import contextlib
import threading
import time
from collections import defaultdict, deque
from datetime import UTC, datetime

from confluent_kafka import Message, Producer
from product import TOPIC, NotDoneError, Product
from sales import Sales

_TICK_S = 0.02
_PROBES_A_SECOND = 20
_FLUSH_S = 300


def send(product: Product, sales: Sales, places: range) -> int:
    """Send sales as fast as possible. Gives how many messages they were."""
    producer, sent = product.producer(), 0
    for messages in sales.messages(places):
        for key, payload in messages:
            _produce(producer, key, payload)
        producer.poll(0)
        sent += len(messages)
    _flush(producer)
    return sent


class Freshness(threading.Thread):
    """For some of the messages, the time from the produce call to the API, which is asked once a snapshot."""

    def __init__(self, product: Product) -> None:
        super().__init__(daemon=True)
        self._product = product
        self._waiting: dict[int, deque[tuple[int, float]]] = defaultdict(deque)
        self._ended = threading.Event()
        self.took_s: list[float] = []

    def delivered(self, message: Message, sent_s: float) -> None:
        self._waiting[message.partition()].append((message.offset(), sent_s))

    @property
    def is_waiting(self) -> bool:
        return any(self._waiting.values())

    def run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError), self._product.events() as lines:
                for line in lines:
                    if line.startswith(b"event: snapshot"):
                        self._look()
                    if self._ended.is_set():
                        return
            time.sleep(_TICK_S)

    def end(self) -> None:
        self._ended.set()

    def _look(self) -> None:
        positions = self._product.served_positions()
        now_s = time.monotonic()
        for partition, position in positions.items():
            waiting = self._waiting[partition]
            while waiting and waiting[0][0] < position:
                self.took_s.append(now_s - waiting.popleft()[1])


def send_live(product: Product, sales: Sales, rate: float, seconds: float, freshness: Freshness | None = None) -> int:
    """Send so many sales a second. Gives how many messages they were."""
    producer = product.producer()
    every = max(1, round(rate / _PROBES_A_SECOND))
    start_s, made, sent = time.monotonic(), 0, 0
    while (elapsed_s := time.monotonic() - start_s) < seconds:
        if (due := int(rate * elapsed_s) - made) > 0:
            made += due
            for batch in sales.messages(sales.add_live(due, datetime.now(UTC))):
                for key, payload in batch:
                    sent_s = time.monotonic()
                    probe = freshness if freshness and sent % every == 0 else None
                    _produce(producer, key, payload, probe, sent_s)
                    sent += 1
        producer.poll(0)
        time.sleep(max(0.0, _TICK_S - (time.monotonic() - start_s - elapsed_s)))
    _flush(producer)
    return sent


def _produce(producer: Producer, key: str, payload: str, probe: Freshness | None = None, sent_s: float = 0.0) -> None:
    def delivered(error: object, message: Message) -> None:
        if probe and not error:
            probe.delivered(message, sent_s)

    while True:
        try:
            if probe:
                producer.produce(TOPIC, payload, key, on_delivery=delivered)
            else:
                producer.produce(TOPIC, payload, key)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _flush(producer: Producer) -> None:
    if left := producer.flush(_FLUSH_S):
        raise NotDoneError(f"{left:,} messages were not taken by Kafka within {_FLUSH_S} s")
