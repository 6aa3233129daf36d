"""What the producers know of their own messages, whatever becomes of the pipeline.

A message that Kafka acknowledged is there, at the place that it named. One that was sent and not acknowledged may be
there or not: a producer that gives up throws away what was on its way. So it is with one of which the client says that
it is there, but not where: Kafka called it a repetition of what it has, and that was seen to be wrong.
"""

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from confluent_kafka import KafkaError, Producer

from salesviews.settings import Settings
from salesviews.simulation import market
from salesviews.simulation.market import Nature

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""

TICK_S = 0.1
BURST = 500
_IDS_OF_A_SELLER = 10**12


@dataclass(eq=False)
class Entry:
    """A message.

    :param place: where it is, as Kafka acknowledged
    :param is_known_absent: it never left its producer
    """

    payload: bytes | None
    nature: Nature
    place: Place | None = None
    is_known_absent: bool = False


class Ledger:
    """The messages of all producers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def acknowledged(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.place]

    @property
    def unknown(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.place and not entry.is_known_absent]

    def counts(self) -> dict[str, int]:
        natures = Counter(entry.nature.name.lower() for entry in self.entries)
        return {
            "sent": len(self.entries),
            "acknowledged": len(self.acknowledged),
            "not acknowledged": len(self.unknown),
            **dict(sorted(natures.items())),
        }


class Seller(threading.Thread):
    """A producer of dirty sales, some of them late, of which duplicates come later and in part with other content.

    :param number: of this producer: each has a seed, ids and clients of its own
    :param rate: messages a second
    :param folder: for what its client says
    """

    def __init__(self, settings: Settings, ledger: Ledger, seed: int, number: int, rate: float, folder: Path) -> None:
        super().__init__(name=f"seller-{number}")
        self._log = logging.Logger(self.name)
        handler = logging.FileHandler(folder / f"{self.name}.log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._log.addHandler(handler)
        self._settings = settings
        self._ledger = ledger
        self._rate = rate
        self._rng = np.random.default_rng([seed, number])
        self._shop = market.Market(seed * 100 + number, number * _IDS_OF_A_SELLER, dirty_pct=20, late_pct=5)
        self._producer = self._connect()
        self._ending = threading.Event()
        self._giving_up = threading.Event()
        self.failure: BaseException | None = None

    def give_up(self) -> None:
        """Send a burst, throw away what is not acknowledged, and go on with a new connection."""
        self._giving_up.set()

    def end(self) -> None:
        """Stop sending, and wait until Kafka has all of it."""
        self._ending.set()
        self.join()
        if self.failure:
            raise self.failure

    def run(self) -> None:
        try:
            while not self._ending.wait(TICK_S):
                self._send(self._rng.poisson(self._rate * TICK_S))
                if self._giving_up.is_set():
                    self._giving_up.clear()
                    self._send(BURST)
                    self._producer.purge()
                    self._producer.flush(30)
                    self._producer = self._connect()
            if waiting := self._producer.flush(300):
                raise TimeoutError(f"Kafka did not acknowledge {waiting} messages of {self.name}")  # noqa: TRY301
        except BaseException as error:
            self.failure = error

    def _connect(self) -> Producer:
        options = {
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 600_000,
            # Where a broker that was about to end named no leader, the next look would be five minutes later.
            "topic.metadata.refresh.interval.ms": 5_000,
            "logger": self._log,
        }
        return Producer(self._settings.kafka_config | options)

    def _send(self, count: int) -> None:
        if not count:
            return
        now_us = market.microseconds(datetime.now(UTC))
        batch = self._shop.batch(np.sort(now_us - self._rng.integers(0, 3_600_000_000, count)))
        for (key, payload), nature in zip(batch, batch.natures.tolist(), strict=True):
            entry = Entry(payload, Nature(nature))
            self._ledger.entries.append(entry)
            self._produce(entry, key)
        self._producer.poll(0)

    def _produce(self, entry: Entry, key: bytes | None) -> None:
        def note(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                entry.is_known_absent = error.code() == KafkaError._PURGE_QUEUE
            elif message.offset() is not None:
                entry.place = message.partition(), message.offset()

        while True:
            try:
                self._producer.produce(self._settings.topic, entry.payload, key, on_delivery=note)
            except BufferError:
                self._producer.poll(TICK_S)
            else:
                return
