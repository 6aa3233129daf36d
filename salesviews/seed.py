"""What a rebuilt generation begins with: the first messages of its ``ventes-typees``, before any typed batch.

A seed gives ``views`` what it would know had it counted everything up to the rebuild: how far each source partition is
counted, and the sums of some keys and windows of a view. The header names the positions (``processors.positions``) and
the view; the value is an Arrow IPC stream of the key columns, ``start_ms`` of the window, and the measures.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import pyarrow as pa

from salesviews import typed
from salesviews.views import View

HEADER = "amorce"

ROWS_A_MESSAGE = 20_000

Sums: TypeAlias = tuple[View, pa.Table]
"""Rows of a view, as ``schema`` has them."""


@dataclass(frozen=True)
class Seed:
    """
    :param positions: as ``Positions.to_state`` gives them; each seed of a generation has the same
    :param view: the name of the view; None where there are no rows
    """

    positions: Any
    view: str | None
    rows: pa.Table


def schema(view: View) -> pa.Schema:
    return pa.schema(
        [
            *(pa.field(dimension.name, dimension.arrow) for dimension in view.key),
            pa.field("start_ms", pa.int64()),
            *(pa.field(name, pa.decimal128(38, 0)) for name in view.measure_names),
        ]
    )


def messages(positions: Any, sums: Iterable[Sums]) -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    """The value and headers of each message; at least one, as the positions count even where no sale did."""
    is_first = True
    for view, rows in sums:
        for start in range(0, rows.num_rows, ROWS_A_MESSAGE):
            yield _message(positions, view.name, rows.slice(start, ROWS_A_MESSAGE))
            is_first = False
    if is_first:
        yield _message(positions, None, pa.table({"start_ms": pa.array([], pa.int64())}))


def _message(positions: Any, view: str | None, rows: pa.Table) -> tuple[bytes, list[tuple[str, bytes]]]:
    return typed.encode(rows), [(HEADER, orjson.dumps({"positions": positions, "vue": view}))]


def of_message(message: Any) -> Seed | None:
    """The seed in a Kafka message; None where it is none."""
    headers = dict(message.headers() or ())
    if HEADER not in headers:
        return None
    named = orjson.loads(headers[HEADER])
    return Seed(named["positions"], named["vue"], typed.decode(message.value()))
