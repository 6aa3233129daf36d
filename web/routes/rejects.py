"""The latest messages that do not count: why, and how they begin."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import event
from salesviews.lineage import behind, messages
from salesviews.lineage.messages import Place
from salesviews.lineage.queries import Queries
from web import parameters, reading
from web.endpoints import Column, Endpoint
from web.parameters import Parameter
from web.reading import LakeReader
from web.rows import Page, Query, Rows
from web.snapshot import Snapshot

MOTIFS = (event.DOUBLON, *event.REJECTIONS)
EXCERPT_BYTES = 200
LARGEST_OFFSET = 10_000
_LIKELY_DAYS = 8
"""How many days before Kafka's time a message's sale is likely to be, under whose day Bronze keeps it."""

REJECTS = Endpoint(
    "/api/rejects",
    "the latest messages that do not count, with their motif and how they begin",
    parameters=(
        Parameter("motif", parameters.one_of(MOTIFS), "only of this motif; repeatable", is_repeatable=True),
        Parameter("limit", parameters.whole_number(1, 200), "how many", default=20),
        Parameter("offset", parameters.whole_number(0, LARGEST_OFFSET), "how many to leave out first", default=0),
    ),
    columns=(
        Column("sequence", pa.int64(), "place in the total order of all messages"),
        Column("position", pa.string(), "topic id/partition/offset: `/api/lineage?position=` tells its story"),
        Column("topic", pa.string(), "Kafka topic"),
        Column("partition", pa.int32(), "partition of it"),
        Column("offset", pa.int64(), "place in the partition"),
        Column("kafka_timestamp", pa.timestamp("us", tz="UTC"), "when Kafka took it"),
        Column("motif", pa.string(), "why it does not count"),
        Column("vente_id", pa.int64(), "the sale that it names; null where none could be read", is_nullable=True),
        Column("compte", pa.string(), "of a doublon: the position of the message that counts", is_nullable=True),
        Column(
            "payload_debut",
            pa.string(),
            f"the first {EXCERPT_BYTES} bytes, as UTF-8 with what is none replaced; null: it has none "
            "(`message_vide`), or Bronze lacks it",
            is_nullable=True,
        ),
        Column("payload_octets", pa.int64(), "how long it is; null as before", "bytes", is_nullable=True),
    ),
    about=reading.ABOUT,
    doc="In the total order, the latest first. Read from Silver and Bronze, within limits of time and memory.",
    is_personal=True,
)


def routes(rows: Rows, reader: LakeReader) -> Blueprint:
    blueprint = Blueprint("rejects", __name__)

    @rows.get(blueprint, REJECTS)
    def rejects(values: dict[str, Any], snapshot: Snapshot) -> Query:
        motifs, limit, offset = values["motif"], values["limit"], values["offset"]
        return Query(
            "SELECT * FROM rejets",
            "sequence DESC",
            page=Page(limit, offset),
            tables={
                "rejets": reader.table(
                    snapshot.manifest, lambda queries: _rejects(queries, motifs, offset, offset + limit + 1)
                )
            },
            depends_on=motifs,
        )

    return blueprint


def _rejects(queries: Queries, motifs: tuple[str, ...], first: int, end: int) -> pa.Table:
    """The latest rejections: those before ``end``, of which those from ``first`` on have their payload."""
    found = queries.table(
        f"SELECT * FROM ({behind.rejected_sql(queries)}) WHERE len($1) = 0 OR motif IN $1 "
        f"ORDER BY sequence DESC LIMIT {end}",
        [list(motifs)],
    ).to_pylist()
    shown: list[Place] = [(row["number"], row["offset"]) for row in found[first:]]
    days = {
        row["kafka_timestamp"].date() - timedelta(days=back) for row in found[first:] for back in range(_LIKELY_DAYS)
    }
    received = messages.received(queries, shown, days)

    def described(row: dict[str, Any]) -> dict[str, Any]:
        at = messages.position(queries, (row["number"], row["offset"]))
        raw = received.get((row["number"], row["offset"]))
        payload = None if raw is None else raw.raw.payload
        counted = None if row["compte_number"] is None else (row["compte_number"], row["compte_offset"])
        return {
            "sequence": row["sequence"],
            "position": str(at),
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "kafka_timestamp": row["kafka_timestamp"],
            "motif": row["motif"],
            "vente_id": row["vente_id"],
            "compte": None if counted is None else str(messages.position(queries, counted)),
            "payload_debut": None if payload is None else payload[:EXCERPT_BYTES].decode(errors="replace"),
            "payload_octets": None if payload is None else len(payload),
        }

    schema = pa.schema([(column.name, column.arrow) for column in REJECTS.columns])
    return pa.Table.from_pylist(list(map(described, found)), schema=schema)
