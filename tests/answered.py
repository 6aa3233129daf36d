"""Rows of an answer in any format as texts, so that they can be compared exactly with each other and with a witness."""

import csv
import io
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from werkzeug.test import TestResponse

FORMATS = ("json", "csv", "arrow", "parquet")
Texts = list[dict[str, str]]


def rows(response: TestResponse) -> Texts:
    """The rows of an answer, each value as the text that it has in JSON (a text without quotes); "" for no value."""
    assert response.status_code == 200, response.text
    if response.mimetype == "application/json":
        body = json.loads(response.text, parse_float=str, parse_int=str)
        return [{name: text(value) for name, value in row.items()} for row in body["data"]]
    if response.mimetype == "text/csv":
        return list(csv.DictReader(io.StringIO(response.get_data().decode(), newline="")))
    return [{name: text(value) for name, value in row.items()} for row in table(response).to_pylist()]


def table(response: TestResponse) -> pa.Table:
    """The rows of an answer in Arrow or Parquet."""
    if response.mimetype == "application/vnd.apache.parquet":
        return pyarrow.parquet.read_table(io.BytesIO(response.data))
    return pa.ipc.open_stream(response.data).read_all()


def text(value: Any) -> str:
    """A value as JSON shows it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, date | Decimal | int | float | str):
        return str(value)
    raise TypeError(value)
