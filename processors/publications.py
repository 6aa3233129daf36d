"""What the topics ``vues-<view>`` say: for each key and window of a view a JSON object, under one that names both."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from salesviews import money
from salesviews.view_rows import DAY_MS, ViewRows
from salesviews.views import Unit, View

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def messages(rows: ViewRows) -> Iterator[tuple[bytes, bytes]]:
    """The key of each row, and its value: the key's object with the measures, amounts with two decimals."""
    measures = rows.view.measures
    write = [(measure.name, _WRITERS.get(measure.unit, str)) for measure in measures]
    for name, start_ms, values in rows.rows():
        key = _key(rows.view, name, start_ms)
        told = {each: orjson.Fragment(text(value)) for (each, text), value in zip(write, values, strict=True)}
        yield key, key[:-1] + b"," + orjson.dumps(told)[1:]


def keys(view: View, rows: pa.Table) -> Iterator[bytes]:
    """The keys of rows of a view's table."""
    window = rows.column(view.window.column)
    if pa.types.is_date32(view.window.arrow):
        starts_ms = [day * DAY_MS for day in window.cast(pa.int32()).to_pylist()]
    else:
        starts_ms = [start // 1000 for start in window.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()]
    columns = [rows.column(name).to_pylist() for name in view.key_names]
    for place, start_ms in enumerate(starts_ms):
        yield _key(view, tuple(column[place] for column in columns), start_ms)


def _key(view: View, name: tuple[Any, ...], start_ms: int) -> bytes:
    start = _EPOCH + timedelta(milliseconds=start_ms)
    is_date = pa.types.is_date32(view.window.arrow)
    window = start.date().isoformat() if is_date else start.strftime("%Y-%m-%dT%H:%M:%SZ")
    return orjson.dumps({**dict(zip(view.key_names, name, strict=True)), view.window.column: window})


def _moment(total: int) -> str:
    return f'"{_EPOCH + timedelta(microseconds=total):%Y-%m-%dT%H:%M:%S.%f}Z"'


_WRITERS = {Unit.CENTS: money.text_of, Unit.MOMENT_US: _moment}
