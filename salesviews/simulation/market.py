"""A simulated market: sales as a shop's message bus would carry them, with what goes wrong there.

Pure: no clock, and no randomness but the seed; the same arguments give the same bytes. Choices are made for a block
of sales at once, in numpy; what remains for each sale is one formatted string.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from salesviews.event import Motif
from salesviews.simulation import catalogue, dirt, world
from salesviews.simulation.world import Integers

BLOCK = 10_000
"""Sales made at once; also the most that ``messages`` gives in one batch."""

Key = bytes | None
Payload = dirt.Payload

_LOYALTY_EXPONENT = 2.0
"""Of a country's clients, the share x that buys most makes the share x ** (1 / this) of its sales."""

_DUPLICATE_SHARE = 0.35
"""Of the dirty messages; the others are rejections."""
_CONFLICT_SHARE = 0.4
"""Of the duplicates; the others have the same content."""
_ODD_A_DIRTY = 0.25
_RECENT_MEAN_MESSAGES = 300
_OLD_SALES = 2_000
_OLD_SALES_A_BLOCK = 50

_LATE_MEAN_US = 45 * 60 * world.SECOND_US
_VERY_LATE_SHARE = 0.05
VERY_LATE_DAYS = (1, 5)

_CLIENT_KEY_SHARE = 0.6
_SALE_KEY_SHARE = 0.15
"""The other messages have no key: producers do not agree on one."""


class Nature(IntEnum):
    """What a message was made to be."""

    SALE = 0
    LATE = 1
    REJECTED = 2
    SAME = 3
    CONFLICTING = 4


@dataclass(frozen=True)
class Batch:
    """Messages in the order in which they are sent; iterating gives (key, payload)."""

    keys: list[Key]
    payloads: list[Payload]
    natures: Integers

    def __len__(self) -> int:
        return len(self.payloads)

    def __getitem__(self, places: slice) -> "Batch":
        return Batch(self.keys[places], self.payloads[places], self.natures[places])

    def __iter__(self) -> Iterator[tuple[Key, Payload]]:
        return zip(self.keys, self.payloads, strict=True)


def microseconds(moment: datetime) -> int:
    """Since the epoch."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Market:
    """Sales of one run, block after block.

    :param first_id: ``vente_id`` of the first message; each message uses up one, a duplicate has its original's
    :param dirty_pct: share of the messages that do not count: rejections of every motif, and duplicates. A quarter as
        many are odd and valid (more than two decimals, other offsets, extra and missing fields)
    :param late_pct: share of the messages whose sale was minutes to days before its place in the order
    """

    def __init__(self, seed: int, first_id: int, dirty_pct: float, late_pct: float) -> None:
        self._rng = np.random.default_rng(seed)
        self._next_id = first_id
        self._dirty_share = dirty_pct / 100
        self._late_share = late_pct / 100
        self._motifs = list(Motif)
        self._old: deque[bytes] = deque(maxlen=_OLD_SALES)

    def batch(self, times_us: Integers) -> Batch:
        """One message for each time, in that order."""
        rng, tables, count = self._rng, world.world(), len(times_us)
        uniform = rng.random(count)
        is_dirty = uniform < self._dirty_share
        is_late = ~is_dirty & (uniform < self._dirty_share + self._late_share)
        natures = np.where(is_late, int(Nature.LATE), int(Nature.SALE)).astype(np.int64)

        country = tables.country.draw(world.cell(times_us), rng.random(count))
        first, past = tables.first_clients[country], tables.first_clients[country + 1]
        client = tables.clients[first + ((past - first) * rng.random(count) ** _LOYALTY_EXPONENT).astype(np.int64)]
        segment = tables.segments[client]
        product = tables.product.draw(country * len(catalogue.SEGMENTS) + segment, rng.random(count))
        quantity = tables.quantity.draw(segment, rng.random(count)) + 1
        quantity = np.where(tables.is_costly[product], (quantity + 1) // 2, quantity)
        promotion = tables.promotions[world.promotion_week(times_us), product]
        sold_us = times_us - np.where(is_late, self._delays_us(count), 0)

        ids = range(self._next_id, self._next_id + count)
        self._next_id += count
        clients = (client + 1).tolist()
        payloads: list[Payload] = [
            f'{{"vente_id": {vente_id}, "client_id": {client_id}, "produit_id": {produit_id}, "timestamp": "{time}", '
            f"{amount}, {name}, {label}, {place}}}".encode()
            for vente_id, client_id, produit_id, time, amount, name, label, place in zip(
                ids,
                clients,
                (product + catalogue.FIRST_PRODUCT_ID).tolist(),
                np.datetime_as_string(sold_us.view("datetime64[us]")).tolist(),
                tables.amounts[product, promotion, quantity - 1].tolist(),
                tables.names[client].tolist(),
                tables.products[product].tolist(),
                tables.places[client].tolist(),
                strict=True,
            )
        ]
        self._make_odd(payloads, ~is_dirty)
        self._make_dirty(payloads, natures, is_dirty)
        self._remember(payloads, natures)
        return Batch(self._keys(ids, clients), payloads, natures)

    def _delays_us(self, count: int) -> Integers:
        delays = self._rng.exponential(_LATE_MEAN_US, count)
        very_late = self._rng.uniform(*VERY_LATE_DAYS, count) * world.DAY_US
        is_very_late = self._rng.random(count) < _VERY_LATE_SHARE
        return np.where(is_very_late, very_late, delays).astype(np.int64) + world.SECOND_US

    def _keys(self, ids: range, clients: list[int]) -> list[Key]:
        return [
            b"%d" % client_id
            if kind < _CLIENT_KEY_SHARE
            else b"vente-%d" % vente_id
            if kind < _CLIENT_KEY_SHARE + _SALE_KEY_SHARE
            else None
            for kind, vente_id, client_id in zip(self._rng.random(len(ids)).tolist(), ids, clients, strict=True)
        ]

    def _make_odd(self, payloads: list[Payload], is_ordinary: npt.NDArray[np.bool_]) -> None:
        is_odd = is_ordinary & (self._rng.random(len(payloads)) < self._dirty_share * _ODD_A_DIRTY)
        for place in np.flatnonzero(is_odd).tolist():
            payloads[place] = self._altered(dirt.ODDITIES, payloads[place])

    def _make_dirty(self, payloads: list[Payload], natures: Integers, is_dirty: npt.NDArray[np.bool_]) -> None:
        rng = self._rng
        for place in np.flatnonzero(is_dirty).tolist():
            original = self._original(payloads, natures, place) if rng.random() < _DUPLICATE_SHARE else None
            if original is None:
                natures[place] = Nature.REJECTED
                motif = self._motifs[rng.integers(len(self._motifs))]
                payloads[place] = self._altered(dirt.SHAPES[motif], payloads[place])
            elif rng.random() < _CONFLICT_SHARE:
                natures[place] = Nature.CONFLICTING
                payloads[place] = self._altered(dirt.CONFLICTS, original)
            else:
                natures[place] = Nature.SAME
                payloads[place] = original

    def _altered(self, shapes: tuple[dirt.Shape, ...], payload: Payload) -> Payload:
        assert payload is not None
        return shapes[self._rng.integers(len(shapes))](payload)

    def _original(self, payloads: list[Payload], natures: Integers, place: int) -> Payload:
        """A sale sent before ``place``: mostly a recent one; None where there was none."""
        earlier = place - 1 - int(self._rng.exponential(_RECENT_MEAN_MESSAGES))
        if earlier >= 0 and natures[earlier] <= Nature.LATE:
            return payloads[earlier]
        return self._old[self._rng.integers(len(self._old))] if self._old else None

    def _remember(self, payloads: list[Payload], natures: Integers) -> None:
        sales = np.flatnonzero(natures <= Nature.LATE)
        for place in self._rng.permutation(sales)[:_OLD_SALES_A_BLOCK].tolist():
            payload = payloads[place]
            assert payload is not None
            self._old.append(payload)


def _times(rng: np.random.Generator, count: int, start: datetime, end: datetime) -> Iterator[Integers]:
    """``count`` moments in [start, end), in order, as dense as the week's curve; in blocks."""
    start_us, end_us = microseconds(start), microseconds(end)
    first_edge_us = start_us // world.CELL_US * world.CELL_US
    edges_us = np.array(
        [start_us, *range(first_edge_us + world.CELL_US, end_us, world.CELL_US), end_us], dtype=np.int64
    )
    expected = np.diff(edges_us) * world.world().density[world.cell(edges_us[:-1])]
    cumulated = np.concatenate(([0.0], np.cumsum(expected)))
    for done in range(0, count, BLOCK):
        part = min(BLOCK, count - done)
        places = (done + np.sort(rng.random(part)) * part) / count * cumulated[-1]
        since_start_us = np.interp(places, cumulated, (edges_us - start_us).astype(np.float64))
        yield start_us + since_start_us.astype(np.int64)


def messages(
    seed: int, count: int, start: datetime, end: datetime, dirty_pct: float, late_pct: float, first_id: int
) -> Iterator[Batch]:
    """``count`` messages whose sales are spread over [start, end) in time order, except the late ones.

    The parameters are those of ``Market``; ``start`` is before ``end``, both with a time zone.
    """
    market = Market(seed, first_id, dirty_pct, late_pct)
    for times_us in _times(np.random.default_rng([seed, 1]), count, start, end):
        yield market.batch(times_us)
