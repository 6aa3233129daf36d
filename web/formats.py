"""The formats in which rows are given: JSON, CSV, an Arrow stream, Parquet.

What an answer says beside its rows (its snapshot) is in the body of JSON, in the schema's metadata of Arrow and
Parquet, and in headers of all of them.

CSV is RFC 4180 in UTF-8, with a header. It is what people open in a spreadsheet, and texts come from whoever writes
sales: a text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a carriage return) has an
apostrophe put before it. Who needs each text to the letter takes another format.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from werkzeug.datastructures import MIMEAccept

from salesviews.errors import SalesviewsError
from web.endpoints import Column

FORMULA = r"^[=+\-@\t\r]"
"""How a text begins that a spreadsheet would compute."""


class UnofferedFormatError(SalesviewsError):
    """A client takes none of the formats that there are."""


@dataclass(frozen=True)
class Format:
    """
    :param mimetype: as it is asked for
    :param write: rows to bytes; None: JSON, which the database writes
    :param is_compact: compressing it would gain nothing
    """

    name: str
    mimetype: str
    write: Callable[[pa.Table], bytes] | None
    is_compact: bool = False


def _csv(rows: pa.Table) -> bytes:
    columns = [_csv_column(column) for column in rows.columns]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(
        pa.table(columns, rows.schema.names), sink, pyarrow.csv.WriteOptions(eol="\r\n", quoting_header="needed")
    )
    return sink.getvalue()


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return pc.if_else(
            pc.match_substring_regex(column, FORMULA), pc.binary_join_element_wise("'", column, ""), column
        )
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column.cast(pa.timestamp(column.type.unit)), "%Y-%m-%dT%H:%M:%SZ")
    return column


def _arrow(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return sink.getvalue()


def _parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


JSON = Format("json", "application/json", None)
CSV = Format("csv", "text/csv", _csv)
ARROW = Format("arrow", "application/vnd.apache.arrow.stream", _arrow)
PARQUET = Format("parquet", "application/vnd.apache.parquet", _parquet, is_compact=True)

FORMATS = (JSON, CSV, ARROW, PARQUET)
BY_NAME = {each.name: each for each in FORMATS}


def negotiate(accepted: MIMEAccept) -> Format:
    """The format that a client likes best; of equal ones the first of ``FORMATS``.

    :raises UnofferedFormatError: if it takes none
    """
    if not accepted:
        return JSON
    mimetype = accepted.best_match([each.mimetype for each in FORMATS])
    for each in FORMATS:
        if each.mimetype == mimetype:
            return each
    offered = ", ".join(f"{each.mimetype} (?format={each.name})" for each in FORMATS)
    raise UnofferedFormatError(f"None of the formats that are accepted is there: offered are {offered}.")


def table(rows: pa.Table, columns: Sequence[Column], noted: Mapping[str, Any]) -> pa.Table:
    """Rows with exactly the declared columns, and metadata: a JSON text by name."""
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in noted.items()}
    return rows.cast(pa.schema([column.field for column in columns], metadata))


def json_column_sql(column: Column) -> str:
    """SQL for the value of a column as JSON shows it."""
    name = f'"{column.name}"'
    if pa.types.is_timestamp(column.arrow):
        fraction = "" if column.arrow.unit == "s" else ".%f"
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%S{fraction}Z') AS {name}"
    return name
