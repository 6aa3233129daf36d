"""Which sale is the first of its client in a month, for a product, category and country.

Such a sale carries ``nouveau_client = 1``; summed over the month that is the exact number of distinct clients, so that
a distinct count needs nothing but addition. What is known is derived data: a month is read from ``ventes_clean`` when
a sale of it first arrives.
"""

from collections.abc import Callable
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


class NewClients:
    """The clients of each month.

    A (group, client) pair is packed into 64 bits, and pairs never collide: a number for the group, given as it is first
    seen, and the client, or a number for it where it is too large or negative.

    :param read_month: the sales of a month that counted so far: columns ``client_id`` and ``GROUP``
    """

    def __init__(self, read_month: Callable[[Month], pa.Table]) -> None:
        self._read_month = read_month
        self._months: dict[Month, SortedTiers] = {}
        self._groups: dict[tuple[str, ...], int] = {}
        self._numbered_clients: dict[int, int] = {}

    def flag(self, sales: pa.Table) -> Int64s:
        """1 for each sale that is the first of its client in its month and group, else 0. Remembers them.

        :param sales: the sales that count, in order: ``timestamp``, ``client_id`` and ``GROUP``
        """
        flags = np.zeros(sales.num_rows, np.int64)
        if not sales.num_rows:
            return flags
        months = _months(sales.column("timestamp"))
        pairs = self._pairs(sales)
        for month in np.unique(months):
            of_month = np.flatnonzero(months == month)
            tiers = self._month((int(month) // 12, int(month) % 12 + 1))
            order = of_month[np.argsort(pairs[of_month], kind="stable")]
            ordered = pairs[order]
            is_first = np.append(True, ordered[1:] != ordered[:-1])
            unique = ordered[is_first]
            known, _ = tiers.find(unique)
            flags[order[is_first][~known]] = 1
            tiers.add(unique[~known], np.zeros(int((~known).sum()), np.int64))
        return flags

    def _month(self, month: Month) -> SortedTiers:
        tiers = self._months.get(month)
        if tiers is None:
            tiers = self._months[month] = SortedTiers()
            pairs = np.unique(self._pairs(self._read_month(month)))
            tiers.add(pairs, np.zeros(len(pairs), np.int64))
        return tiers

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
