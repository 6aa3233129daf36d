"""Which sale is the first of its client in a month, for a product, category and country.

Such a sale carries ``nouveau_client = 1``; summed over the month that is the exact number of distinct clients, so that
a distinct count needs nothing but addition. What is known is derived data: a month is read from ``ventes_clean`` when
a sale of it first arrives, and forgotten when none has arrived for a day.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.tiers import Int64s, SortedTiers
from salesviews import event, views

Month: TypeAlias = tuple[int, int]
"""Year and month."""

GROUP = views.VENTES_PRODUIT_PAYS.key_names
"""What a client is new to, beside the month: the key of the view that counts new clients."""

_CLIENT_BITS = 38
_NUMBERED_FROM = 1 << (_CLIENT_BITS - 1)
"""Clients from 0 to below this are packed as they are; others get numbers from here on."""


@dataclass
class _Pairs:
    """
    :param last_sequence: the place in the total order of the last sale that was looked up
    """

    tiers: SortedTiers = field(default_factory=SortedTiers)
    last_sequence: int = -1

    def add(self, pairs: Int64s) -> None:
        self.tiers.add(pairs, np.zeros(len(pairs), np.int8))


class NewClients:
    """The clients of each month: 9 bytes a pair of a group and a client, of the months that sales arrive for.

    A pair is packed into 64 bits, and pairs never collide: a number for the group, given as it is first seen, and the
    client, or a number for it where it is too large or negative.

    :param read_month: the sales of a month that counted before a place in the total order: columns ``client_id`` and
        ``GROUP``
    """

    def __init__(self, read_month: Callable[[Month, int], pa.Table]) -> None:
        self._read_month = read_month
        self._months: dict[Month, _Pairs] = {}
        self._last_sequence = self._day_before = -1
        self._groups: dict[tuple[str, ...], int] = {}
        self._numbered_clients: dict[int, int] = {}

    def flag(self, sales: pa.Table) -> Int64s:
        """1 for each sale that is the first of its client in its month and group, else 0. Remembers them.

        :param sales: the sales that count, in order: ``sequence``, ``timestamp``, ``client_id`` and ``GROUP``
        """
        flags = np.zeros(sales.num_rows, np.int64)
        if not sales.num_rows:
            return flags
        sequences = sales.column("sequence")
        first, self._last_sequence = sequences[0].as_py(), sequences[-1].as_py()
        months = _months(sales.column("timestamp"))
        pairs = self._pairs(sales)
        for month in np.unique(months):
            of_month = np.flatnonzero(months == month)
            known_pairs = self._month((int(month) // 12, int(month) % 12 + 1), first)
            known_pairs.last_sequence = self._last_sequence
            order = of_month[np.argsort(pairs[of_month], kind="stable")]
            ordered = pairs[order]
            is_first = np.append(True, ordered[1:] != ordered[:-1])
            unique = ordered[is_first]
            known, _ = known_pairs.tiers.find(unique)
            flags[order[is_first][~known]] = 1
            known_pairs.add(unique[~known])
        return flags

    def __len__(self) -> int:
        """How many months are known."""
        return len(self._months)

    def begin_day(self, held: int) -> None:
        """Forget the months for which no sale has arrived since the day before began.

        :param held: the place in the total order up to which ``ventes_clean`` surely has the sales; a month with later
            ones stays, as it could not be read again
        """
        self._months = {
            month: pairs for month, pairs in self._months.items() if pairs.last_sequence > min(self._day_before, held)
        }
        self._day_before = self._last_sequence

    def _month(self, month: Month, before: int) -> _Pairs:
        known = self._months.get(month)
        if known is None:
            known = self._months[month] = _Pairs()
            known.add(np.unique(self._pairs(self._read_month(month, before))))
        return known

    def _pairs(self, sales: pa.Table) -> Int64s:
        clients = sales.column("client_id").to_numpy()
        outside = (clients < 0) | (clients >= _NUMBERED_FROM)
        if outside.any():
            clients = clients.copy()
            clients[outside] = [self._client_number(int(client)) for client in clients[outside]]
        packed: Int64s = (self._group_numbers(sales) << _CLIENT_BITS) | clients
        return packed

    def _client_number(self, client: int) -> int:
        return self._numbered_clients.setdefault(client, _NUMBERED_FROM + len(self._numbered_clients))

    def _group_numbers(self, sales: pa.Table) -> Int64s:
        """The number of each row's group: encoded by column, so that Python sees each distinct group once."""
        codes = np.zeros(sales.num_rows, np.int64)
        dictionaries: list[list[str]] = []
        for name in GROUP:
            encoded = pa.array(pc.fill_null(sales.column(name), event.INCONNU).combine_chunks()).dictionary_encode()
            dictionaries.append(encoded.dictionary.to_pylist())
            codes = codes * max(len(dictionaries[-1]), 1) + encoded.indices.to_numpy()
        distinct, places = np.unique(codes, return_inverse=True)
        numbers = [self._number(_decode(int(code), dictionaries)) for code in distinct]
        result: Int64s = np.array(numbers, np.int64)[places] if len(numbers) else np.zeros(0, np.int64)
        return result

    def _number(self, group: tuple[str, ...]) -> int:
        return self._groups.setdefault(group, len(self._groups))


def _decode(code: int, dictionaries: list[list[str]]) -> tuple[str, ...]:
    values: list[str] = []
    for dictionary in reversed(dictionaries):
        code, index = divmod(code, len(dictionary))
        values.append(dictionary[index])
    return tuple(reversed(values))


def _months(timestamps: Any) -> Int64s:
    """Months since year 0."""
    result: Int64s = timestamps.to_numpy().astype("datetime64[M]").astype(np.int64) + 1970 * 12
    return result
