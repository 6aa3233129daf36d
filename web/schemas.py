"""JSON Schemas (2020-12) of what answers hold, and the few words to write them with."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from web.endpoints import Column

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}
INSTANT: Schema = {"type": "string", "format": "date-time", "examples": ["2025-12-22T14:35:27.123456Z"]}
ANYTHING: Schema = {}


def record(properties: Mapping[str, Schema], optional: tuple[str, ...] = (), doc: str = "") -> dict[str, Any]:
    """An object of exactly these members.

    :param optional: those that may be missing
    """
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    return schema | ({"description": doc} if doc else {})


def by_name(schema: Schema, doc: str = "") -> dict[str, Any]:
    """An object whose members all have one schema."""
    return {"type": "object", "additionalProperties": dict(schema)} | ({"description": doc} if doc else {})


def listed(items: Schema) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


def nullable(schema: Schema, doc: str = "") -> dict[str, Any]:
    """Or null, where ``doc`` says what that means."""
    return {"anyOf": [dict(schema), {"type": "null"}]} | ({"description": doc} if doc else {})


POSITION = record({"topic": TEXT, "topic_id": TEXT, "partition": COUNT, "offset": COUNT})

SNAPSHOT = record(
    {
        "id": COUNT,
        "created_at": INSTANT,
        "age_ms": COUNT | {"description": "since the processors wrote it, when this answer was made"},
        "positions": listed(POSITION) | {"description": "the next position of each source partition"},
        "caught_up": nullable(TRUTH, "whether it has every message that Kafka has now; null: Kafka does not answer"),
        "as_of": TEXT | {"description": "how an earlier snapshot was asked for"},
    },
    optional=("as_of",),
    doc="the snapshot that all figures of the answer are from",
)

ERROR = record(
    {
        "error": record(
            {
                "status": WHOLE,
                "code": TEXT | {"description": "the kind of error, for programs", "examples": ["bad_parameter"]},
                "message": TEXT | {"description": "what happened, and what to do"},
                "parameter": TEXT | {"description": "the parameter that cannot be used"},
            },
            optional=("parameter",),
        )
    },
    doc="every error has this form",
)

PAGE = record(
    {"limit": COUNT, "offset": COUNT, "next": nullable(COUNT, "the offset of the next page; null: there is none")}
)


def of_column(column: Column) -> dict[str, Any]:
    """A value of a column, as JSON has it."""
    schema = _of_type(column.arrow)
    schema["description"] = column.doc if column.unit is None else f"{column.doc} (unit: {column.unit})"
    if column.is_nullable:
        schema["type"] = [schema["type"], "null"]
    if column.example is not None:
        schema["examples"] = [column.example]
    return schema


def _of_type(arrow: pa.DataType) -> dict[str, Any]:
    if pa.types.is_decimal(arrow):
        return {"type": "integer"} if arrow.scale == 0 else {"type": "number", "examples": [1799.98]}
    if pa.types.is_integer(arrow):
        return {"type": "integer", "examples": [42]}
    if pa.types.is_floating(arrow):
        return {"type": "number"}
    if pa.types.is_boolean(arrow):
        return {"type": "boolean"}
    if pa.types.is_timestamp(arrow):
        return {"type": "string", "format": "date-time", "examples": ["2025-12-22T10:00:00Z"]}
    if pa.types.is_date(arrow):
        return {"type": "string", "format": "date", "examples": ["2025-12-22"]}
    if pa.types.is_list(arrow):
        return {"type": "array", "items": _of_type(arrow.value_type)}
    return {"type": "string"}
