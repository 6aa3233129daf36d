"""Digests of the keys of a view: 128 bits stand for a key, so that keys are compared and sorted as numbers.

A digest is BLAKE2b's of the key's values. Two keys of a table of a billion share one with a probability below 10^-20.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from salesviews.arrays import Int64s, UInt64s, Words

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def of_columns(columns: Sequence[pa.ChunkedArray | pa.Array]) -> Words:
    """The digest of each row of some columns: texts or integers, none of them null. Each distinct row is hashed once.

    :return: of two rows and a column for each row of the table
    """
    codes = np.zeros(len(columns[0]), np.int64)
    dictionaries = []
    for column in columns:
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = whole.dictionary_encode()
        dictionaries.append(encoded.dictionary)
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
        if len(columns) > 1:
            _, codes = np.unique(codes, return_inverse=True)  # small numbers: the product of many sizes would wrap
    first = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    first[codes] = np.arange(len(codes))
    values = [column.take(pa.array(first)).to_pylist() for column in columns]
    return _digests(zip(*values, strict=True))[:, codes]


def of_nothing(rows: int) -> Words:
    """The digests of so many rows of a key without columns."""
    return np.repeat(_digests([()]), rows, axis=1)


def at_starts(digests: Words, starts_ms: Int64s) -> Words:
    """The digests of keys at the starts of their windows. Of one key, no two starts share a word."""
    starts = starts_ms.astype(np.uint64)
    return np.stack((digests[0] ^ mixed(starts + _GOLDEN), digests[1] ^ starts))


def mixed(words: UInt64s) -> UInt64s:
    """Each bit depends on all; no two words become the same (the finalizer of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))


def _digests(keys: Iterable[tuple[Any, ...]]) -> Words:
    # JSON tells ["a", "b"] from ["ab"], and 1 from "1".
    data = b"".join(hashlib.blake2b(orjson.dumps(key), digest_size=16).digest() for key in keys)
    return np.ascontiguousarray(np.frombuffer(data, "<u8").reshape(-1, 2).T)
