"""Which sale is the first of its client in a month, for a product, category and country.

Such a sale carries ``nouveau_client = 1``; summed over the month that is the exact number of distinct clients, so that
a distinct count needs nothing but addition. What is known is derived data, of ``ventes_clean``: sorted runs, 16 bytes a
client of a group in a month.
"""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.key_digests import mixed
from processors.run_files import Entries
from processors.sorted_runs import SortedRuns, first_pairs
from salesviews import event, views
from salesviews.arrays import Int64s, UInt64s

GROUP = views.VENTES_PRODUIT_PAYS.key_names
"""What a client is new to, beside the month: the key of the view that counts new clients."""

COLUMNS = ("timestamp", "client_id", *GROUP)

_MONTH_BITS = 16
_HASH_BITS = np.uint64(64 - _MONTH_BITS)
_WORDS = np.dtype(">u8")


class NewClients:
    """The clients of each month and group.

    One of them is 128 bits. The first word is the month, and 48 bits of a hash of group and client: sales of one month
    are near each other, and hardly ever two clients have one key. The second word is the client, exclusive or another
    hash of the group. So two clients of a group never are the same; two of different groups are with a probability of
    2^-112, some 10^-20 for 10 million of a month. Who sends sales cannot look for such two: the hashes are keyed.

    :param runs: where they are; of pairs
    :param key: makes the hashes others than those of another lake
    """

    def __init__(self, runs: SortedRuns, key: str) -> None:
        self.runs = runs
        self._key = hashlib.blake2b(key.encode()).digest()

    def load(self, pairs: Entries) -> None:
        """Add clients that are known, in any order.

        :param pairs: as ``pairs`` gives them
        """
        keys, values = pairs
        firsts = first_pairs(keys, values, np.argsort(keys))
        self.runs.add(keys[firsts], values[firsts])

    def flag(self, sales: pa.Table) -> Int64s:
        """1 for each sale that is the first of its client in its month and group, else 0. Remembers them.

        :param sales: the sales that count, in order: ``COLUMNS``
        """
        flags = np.zeros(sales.num_rows, np.int64)
        keys, values = self.pairs(sales)
        firsts = first_pairs(keys, values, np.argsort(keys))
        firsts = firsts[~self.runs.has(keys[firsts], values[firsts])]
        flags[firsts] = 1
        self.runs.add(keys[firsts], values[firsts])
        return flags

    def pairs(self, sales: pa.Table) -> Entries:
        """For each sale the two words of its client in its month and group."""
        clients = sales.column("client_id").to_numpy().view(np.uint64)
        first, second = self._group_hashes(sales)
        months = _months(sales.column("timestamp")).view(np.uint64) << _HASH_BITS
        keys = months | (mixed(first + mixed(clients)) >> np.uint64(_MONTH_BITS))
        return keys.view(np.int64), (second ^ clients).view(np.int64)

    def _group_hashes(self, sales: pa.Table) -> tuple[UInt64s, UInt64s]:
        """Two independent words of each sale's group: the sums of those of its texts."""
        sums = np.zeros((sales.num_rows, 2), np.uint64)
        for place, name in enumerate(GROUP):
            encoded = pa.array(pc.fill_null(sales.column(name), event.INCONNU).combine_chunks()).dictionary_encode()
            salt = place.to_bytes(2, "big")
            digests = b"".join(
                hashlib.blake2b(text.encode(), digest_size=16, key=self._key, salt=salt).digest()
                for text in encoded.dictionary.to_pylist()
            )
            words = np.frombuffer(digests, _WORDS).astype(np.uint64).reshape(-1, 2)
            sums += words[encoded.indices.to_numpy()]
        return sums[:, 0], sums[:, 1]


def _months(timestamps: Any) -> Int64s:
    """Months since year 0."""
    result: Int64s = timestamps.to_numpy().astype("datetime64[M]").astype(np.int64) + 1970 * 12
    return result
