"""What a rebuilt generation begins with: the first messages of its ``ventes-typees``, before any typed batch.

A seed gives ``views`` what it would know had it counted everything up to the rebuild: how far each source partition is
counted, and the sum of each key and window of each view. The header names the positions (``processors.positions``), the
value is a JSON array of rows. Sums beyond 64 bits are text.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import orjson

HEADER = "amorce"

ROWS_A_MESSAGE = 20_000

_LARGEST = 2**63 - 1

Row: TypeAlias = tuple[str, tuple[Any, ...], int, list[int]]
"""A view's name, a key, the start of a window in milliseconds, and the measures, in the order of their declaration."""


@dataclass(frozen=True)
class Seed:
    """
    :param positions: as ``Positions.to_state`` gives them; each seed of a generation has the same
    """

    positions: Any
    rows: Sequence[Row]


def messages(positions: Any, rows: Iterable[Row]) -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    """The value and headers of each message; at least one, as the positions count even where no sale did."""
    header = [(HEADER, orjson.dumps(positions))]
    remaining = iter(rows)
    chunk = list(islice(remaining, ROWS_A_MESSAGE))
    while True:
        yield (
            orjson.dumps([[name, key, start_ms, list(map(_number, sums))] for name, key, start_ms, sums in chunk]),
            header,
        )
        chunk = list(islice(remaining, ROWS_A_MESSAGE))
        if not chunk:
            return


def of_message(message: Any) -> Seed | None:
    """The seed in a Kafka message; None where it is none."""
    headers = dict(message.headers() or ())
    if HEADER not in headers:
        return None
    rows = [
        (name, tuple(key), start_ms, list(map(int, sums)))
        for name, key, start_ms, sums in orjson.loads(message.value())
    ]
    return Seed(orjson.loads(headers[HEADER]), rows)


def _number(total: int) -> int | str:
    return total if abs(total) <= _LARGEST else str(total)
