"""Producing simulated sales to the raw topic: a history, or live.

The sales are ``market``'s; this decides when they are sent, sees to it that they arrive, and says how far it is.
"""

import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TextIO

import numpy as np

from salesviews import event, topics
from salesviews.errors import SettingError
from salesviews.settings import Settings
from salesviews.simulation import market
from salesviews.simulation.delivery import Delivery
from salesviews.simulation.market import Batch, Nature
from salesviews.simulation.world import Integers

DEFAULT_SEED = 1
DEFAULT_DIRTY_PCT = 2.0
DEFAULT_LATE_PCT = 1.0
DEFAULT_HISTORY_DAYS = 1.0

_MAX_ID = 2**63 - 1
_ID_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_IDS_A_SECOND_BITS = 33

_TICK_S = 0.05
_LIVE_DELAY_US = (100_000, 400_000)
_SHOWN_EVERY_S = 5.0
_SHOWN_ON_TERMINAL_EVERY_S = 0.2
_ERASE_LINE = "\r\x1b[K"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Outcome:
    """What a run sent.

    :param natures: messages by what they were made to be
    :param is_stopped: a signal ended it
    """

    natures: Integers = field(default_factory=lambda: np.zeros(len(Nature), dtype=np.int64))
    is_stopped: bool = False

    @property
    def sent(self) -> int:
        return int(self.natures.sum())

    def count(self, *natures: Nature) -> int:
        return int(sum(self.natures[nature] for nature in natures))


def run(
    settings: Settings,
    *,
    sales: int | None = None,
    rate: float = 0.0,
    seed: int = DEFAULT_SEED,
    dirty_pct: float = DEFAULT_DIRTY_PCT,
    late_pct: float = DEFAULT_LATE_PCT,
    days: float | None = None,
    first_id: int | None = None,
    clock: Callable[[], datetime] = _now,
    progress: TextIO | None = None,
) -> Outcome:
    """Produce to the raw topic, which is created if need be; returns when all is acknowledged.

    SIGTERM and SIGINT end it early, with everything that was sent acknowledged (in the main thread; elsewhere only
    ``sales`` ends it). A history is deterministic where ``first_id`` and ``clock`` are given too.

    :param sales: messages to send, dirty ones included; None: until stopped
    :param rate: messages a second; 0: as fast as possible
    :param dirty_pct: share that does not count, see ``market.Market``
    :param late_pct: share whose sale was minutes to days before
    :param days: the sales are spread over the last so many days; 0: live, a sale is sent as it is made.
        Default: a day where ``sales`` is given, otherwise live
    :param first_id: ``vente_id`` of the first; default: from the time and a random number, so that runs share none
    :param clock: the time with its zone: the end of a history, the moment of a live sale
    :param progress: where progress goes; default: standard error
    :raises SettingError: if an argument cannot be used
    :raises BrokerError: if the broker cannot be reached, or does not acknowledge a message
    """
    if days is None:
        days = 0.0 if sales is None else DEFAULT_HISTORY_DAYS
    end = clock()
    first_id = fresh_first_id(end) if first_id is None else first_id
    _check(sales, rate, seed, dirty_pct, late_pct, days, first_id, end)
    topics.create(settings)
    outcome = Outcome()
    with _stop_signals() as stop, _Progress(progress or sys.stderr, sales) as shown:
        delivery = Delivery(settings, stop)
        pace = _Pace(rate, delivery, stop)
        if days > 0 and sales is not None:
            start = end - timedelta(days=days)
            history = market.messages(seed, sales, start, end, dirty_pct, late_pct, first_id)
            batches = _paced(history, pace)
        else:
            batches = _live(market.Market(seed, first_id, dirty_pct, late_pct), sales, pace, seed, clock)
        for batch in batches:
            sent = delivery.send(batch.keys, batch.payloads)
            outcome.natures += np.bincount(batch.natures[:sent], minlength=len(Nature))
            shown.sent(outcome.sent)
        delivery.finish()
        outcome.is_stopped = stop.is_set()
        shown.end(outcome, settings.topic)
    return outcome


def fresh_first_id(now: datetime) -> int:
    """A ``vente_id`` whose followers no other run uses: the second of the start, then 33 random bits.

    Runs started in different seconds are apart; two of a million sales, started in the same one, meet once in 4,000.
    """
    second = (now - _ID_EPOCH) // timedelta(seconds=1)
    return (second << _IDS_A_SECOND_BITS) + secrets.randbits(_IDS_A_SECOND_BITS)


def _check(
    sales: int | None,
    rate: float,
    seed: int,
    dirty_pct: float,
    late_pct: float,
    days: float,
    first_id: int,
    end: datetime,
) -> None:
    if sales is not None and sales < 1:
        raise SettingError(f"sales={sales}: a number of sales is 1 or more; leave it out to go on until stopped.")
    if not 0 <= rate < float("inf"):
        raise SettingError(f"rate={rate}: it is a number of sales a second, or 0 for as fast as possible.")
    if seed < 0:
        raise SettingError(f"seed={seed}: a seed is a whole number of 0 or more.")
    for name, pct in (("dirty", dirty_pct), ("late", late_pct)):
        if not 0 <= pct <= 100:
            raise SettingError(f"{name}={pct}: it is a percentage of the messages, from 0 to 100.")
    if dirty_pct + late_pct > 100:
        raise SettingError(f"dirty={dirty_pct} and late={late_pct}: together they are at most 100 % of the messages.")
    longest = (end - event.EARLIEST).days - 2 * max(market.VERY_LATE_DAYS)
    if not 0 <= days <= longest:
        raise SettingError(
            f"days={days}: it is a number of days from 0 (live) to {longest}; "
            f"sales before {event.EARLIEST:%Y-%m-%d} are not valid."
        )
    if days > 0 and sales is None:
        raise SettingError(f"days={days}: a history needs a number of sales; without one, sales are live (days=0).")
    if not 0 <= first_id <= _MAX_ID - (sales or 0):
        raise SettingError(
            f"first_id={first_id}: with {sales or 0} sales it leaves the range of vente_id, 0 to 2^63 - 1."
        )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal acts as it did before."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(*_: Any) -> None:
        stop.set()
        restore()

    for number in numbers:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


class _Pace:
    """When how many messages may be sent: ``rate`` a second, or without a limit where it is 0."""

    def __init__(self, rate: float, delivery: Delivery, stop: threading.Event) -> None:
        self._rate = rate
        self._delivery = delivery
        self._stop = stop
        self._start_s = time.monotonic()
        self._allowed = 0

    def allow(self, wanted: int) -> int:
        """Wait until it is time to send some of ``wanted``, and say how many; 0 only after ``stop``."""
        least = min(wanted, max(1, int(self._rate * _TICK_S)))
        while not self._stop.is_set():
            if not self._rate:
                return wanted
            due = int((time.monotonic() - self._start_s) * self._rate) + 1 - self._allowed
            if due >= least:
                allowed = min(due, wanted)
                self._allowed += allowed
                return allowed
            self._delivery.poll(min(_TICK_S, (least - due) / self._rate))
        return 0


def _paced(batches: Iterator[Batch], pace: _Pace) -> Iterator[Batch]:
    """The same messages, each when it is due; ends early after ``stop``."""
    for batch in batches:
        start = 0
        while start < len(batch):
            allowed = pace.allow(len(batch) - start)
            if not allowed:
                return
            yield batch[start : start + allowed]
            start += allowed


def _live(
    sales: market.Market, count: int | None, pace: _Pace, seed: int, clock: Callable[[], datetime]
) -> Iterator[Batch]:
    """Sales that were made a moment ago, each when it is due; ends early after ``stop``."""
    rng = np.random.default_rng([seed, 2])
    remaining = count
    while remaining is None or remaining > 0:
        allowed = pace.allow(market.BLOCK if remaining is None else min(remaining, market.BLOCK))
        if not allowed:
            return
        delays_us = rng.integers(*_LIVE_DELAY_US, allowed)
        yield sales.batch(np.sort(market.microseconds(clock()) - delays_us))
        remaining = None if remaining is None else remaining - allowed


class _Progress:
    """How far a run is: one line that changes on a terminal, otherwise a line every few seconds."""

    def __init__(self, stream: TextIO, total: int | None) -> None:
        self._stream = stream
        self._total = total
        self._is_terminal = stream.isatty()
        self._interval_s = _SHOWN_ON_TERMINAL_EVERY_S if self._is_terminal else _SHOWN_EVERY_S
        self._start_s = self._shown_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal:
            self._write(_ERASE_LINE)

    def sent(self, sent: int) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < self._interval_s:
            return
        self._shown_s = now_s
        rate = sent / (now_s - self._start_s)
        if self._total is None:
            text = f"{sent:,} messages sent, {rate:,.0f}/s"
        else:
            remaining_s = (self._total - sent) / rate if rate else float("inf")
            text = f"{sent:,} of {self._total:,} messages sent, {rate:,.0f}/s, {remaining_s:,.0f} s remaining"
        self._write(_ERASE_LINE + text if self._is_terminal else text + "\n")

    def end(self, outcome: Outcome, topic: str) -> None:
        seconds = time.monotonic() - self._start_s
        text = (
            f"{'Stopped: ' if outcome.is_stopped else ''}{outcome.sent:,} messages sent to {topic} "
            f"in {seconds:,.1f} s ({outcome.sent / seconds:,.0f}/s): "
            f"{outcome.count(Nature.SALE, Nature.LATE):,} sales ({outcome.count(Nature.LATE):,} of them late), "
            f"{outcome.count(Nature.SAME, Nature.CONFLICTING):,} duplicates "
            f"({outcome.count(Nature.CONFLICTING):,} of them conflicting), "
            f"{outcome.count(Nature.REJECTED):,} to be rejected\n"
        )
        self._write(_ERASE_LINE + text if self._is_terminal else text)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
