"""What a take of typed batches adds: which sales count, which do not and why, and the sums that the views gain.

All of it is by columns. Everything that this remembers beside the high-water marks is derived from ``ventes_clean``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors import gains as gains_of
from processors.dedup import Verdict
from processors.memory import Memory
from processors.positions import Positions, pack, unpack
from salesviews import event, lake, typed
from salesviews.arrays import Int64s, Mask
from salesviews.lake import Lake
from salesviews.typed import Interval
from salesviews.view_rows import ViewRows
from salesviews.views import SALES_FIELDS, Kept, Source, kept

_DAY_US = 86_400_000_000
_DAYS = np.array(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])


@dataclass(frozen=True)
class TypedBatch:
    """A message of ``ventes-typees``."""

    offset: int
    interval: Interval
    rows: pa.Table

    @property
    def first_sequence(self) -> int:
        return typed.first_sequence(self.offset)

    @property
    def last_sequence(self) -> int:
        return typed.last_sequence(self.offset)


@dataclass(frozen=True)
class Counted:
    """What was added.

    :param clean: rows of ``lake.CLEAN``
    :param rejected: rows of ``lake.REJECTED``
    :param gains: what each view gains that is kept in windows
    """

    clean: pa.Table
    rejected: pa.Table
    gains: list[ViewRows]


NOTHING = Counted(lake.CLEAN.schema.empty_table(), lake.REJECTED.schema.empty_table(), [])


class Counter:
    """Counts takes, in the total order.

    :param first_sequence: the first place in the total order that this counter will see; what ``ventes_clean`` has from
        there on was appended by a checkpoint that did not end, and is counted again
    :param folder: for the files of what it remembers, of this generation alone; None: all is kept in memory
    :param beat: called now and then while ``ventes_clean`` is read
    """

    def __init__(
        self,
        source: Lake,
        dedup_days: int,
        first_sequence: int,
        positions: Positions,
        folder: Path | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._dedup_days = dedup_days
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._last_sequence = self._committed = first_sequence - 1
        self._memory = Memory(source, folder, first_sequence, positions, positions.horizon(dedup_days), beat)

    def committed(self, sequence: int) -> None:
        """A checkpoint has committed everything up to a place in the total order.

        Where more was counted meanwhile, nothing is sealed before a checkpoint that has committed that too.
        """
        self._committed = sequence
        if sequence >= self._last_sequence:
            self._memory.committed(sequence)

    def step(self) -> bool:
        """Do a bounded part of the work that waits (``SortedRuns.step``); once a turn. Gives whether more waits."""
        return self._memory.step()

    def close(self) -> None:
        """At an orderly end, after the last checkpoint: put what it has committed into files."""
        if self._committed >= self._last_sequence:
            self._memory.seal(self._committed)
        self._memory.close()

    def count(self, batches: Sequence[TypedBatch], positions: Positions) -> Counted:
        """Count batches, moving ``positions`` on. Rows below a high-water mark are dropped: they have been counted."""
        parts: list[pa.Table] = []
        verdicts: list[Verdict] = []
        lost: list[tuple[int, int]] = []
        for day_batches in self._by_day(batches, positions):
            rows = [self._new_rows(batch, positions, lost) for batch in day_batches]
            part = pa.concat_tables(rows)
            valid = part.filter(pc.is_null(part.column("motif")))
            verdicts.append(self._memory.ids.judge(_int64s(valid.column("vente_id")), _int64s(valid.column("_packed"))))
            parts.append(part)
        self._last_sequence = max(batch.last_sequence for batch in batches)
        return self._counted(pa.concat_tables(parts), verdicts, lost, positions)

    def _by_day(self, batches: Sequence[TypedBatch], positions: Positions) -> Iterator[list[TypedBatch]]:
        """The batches in runs; between two runs, the dedup horizon moves.

        It moves at the first batch with a later day of Kafka timestamps than any before. That depends on the total
        order alone, and not on how it is cut into takes, so that counting again comes to the same.
        """
        run: list[TypedBatch] = []
        for batch in batches:
            if batch.rows.num_rows:
                day = pc.max(batch.rows.column("kafka_timestamp")).value // _DAY_US
                if positions.is_later_day(day):
                    if run:
                        yield run
                    run = []
                    positions.begin_day(day)
                    self._memory.ids.forget_before(positions.horizon(self._dedup_days))
            run.append(batch)
        yield run

    def _new_rows(self, batch: TypedBatch, positions: Positions, lost: list[tuple[int, int]]) -> pa.Table:
        """The rows of a batch that are not counted yet, with their place and packed position."""
        index, start = positions.advance(batch.interval)
        rows = batch.rows
        offsets = _int64s(rows.column("offset"))
        gone = batch.interval.start + batch.interval.lost - start  # some of the lost may have been counted before
        if gone > 0 and rows.num_rows:
            lost.append((gone, rows.column("kafka_timestamp")[0].value))
        places = np.arange(rows.num_rows, dtype=np.int64) + batch.first_sequence
        rows = rows.append_column("sequence", pa.array(places)).append_column("_packed", pa.array(pack(index, offsets)))
        return rows.slice(int(np.searchsorted(offsets, start)))

    def _counted(
        self, rows: pa.Table, verdicts: list[Verdict], lost: list[tuple[int, int]], positions: Positions
    ) -> Counted:
        is_valid = pc.is_null(rows.column("motif")).to_numpy()
        counts = np.zeros(rows.num_rows, np.bool_)
        counts[is_valid] = np.concatenate([verdict.counts for verdict in verdicts])
        counted_at = np.zeros(rows.num_rows, np.int64)
        counted_at[is_valid] = np.concatenate([verdict.counted_at for verdict in verdicts])
        is_double = is_valid & ~counts

        sales = rows.filter(pa.array(counts))
        clean = _clean_rows(sales, positions)
        rejected = _rejected_rows(rows, is_valid, is_double, counted_at, positions)
        sources = {
            Source.SALES: _sale_columns(sales, self._memory.clients.flag(sales)),
            Source.MESSAGES: _message_columns(rows, counts, is_double, lost),
        }
        for source, table in sources.items():
            self._connection.register(source.value, table)
        gains = [
            gains_of.of_relation(self._connection, view, view.source.value)
            for view in kept(Kept.IN_WINDOWS)
            if sources[view.source].num_rows
        ]
        return Counted(clean, rejected, gains)

    def touched(self, batch: TypedBatch) -> list[ViewRows]:
        """The rows of views that the messages of a batch may have changed, without measures. Nothing is counted."""
        rows = batch.rows
        is_valid = pc.is_null(rows.column("motif")).to_numpy()
        nothing = np.zeros(rows.num_rows, np.bool_)
        lost = (
            [(batch.interval.lost, rows.column("kafka_timestamp")[0].value)]
            if batch.interval.lost and len(rows)
            else []
        )
        sales = rows.filter(pa.array(is_valid))
        self._connection.register(Source.SALES.value, _sale_columns(sales, np.zeros(sales.num_rows, np.int64)))
        self._connection.register(
            Source.MESSAGES.value,
            # Which of the valid ones counted is not known here: it is one or the other.
            pa.concat_tables(
                [_message_columns(rows, is_valid, nothing, lost), _message_columns(rows, nothing, is_valid, [])]
            ),
        )
        return [gains_of.touched(self._connection, view, view.source.value) for view in kept(Kept.IN_WINDOWS)]


def _int64s(column: pa.ChunkedArray) -> Int64s:
    result: Int64s = column.to_numpy()
    return result


def _position_columns(packed: Int64s, positions: Positions) -> dict[str, pa.Array]:
    indexes, offsets = unpack(packed)
    sources = [mark.source for mark in positions.marks]
    partitions = np.array([source.partition for source in sources], np.int32)
    topic_ids = pa.array([source.topic_id for source in sources], pa.string())
    return {
        "partition": pa.array(partitions[indexes]) if len(indexes) else pa.array([], pa.int32()),
        "offset": pa.array(offsets),
        "topic_id": topic_ids.take(pa.array(indexes)),
    }


def _clean_rows(sales: pa.Table, positions: Positions) -> pa.Table:
    when = sales.column("timestamp")
    columns = {
        **{name: sales.column(name) for name in (*event.FIELD_NAMES, "sequence")},
        **_position_columns(_int64s(sales.column("_packed")), positions),
        "annee": pc.year(when).cast(pa.int32()),
        "mois": pc.month(when).cast(pa.int32()),
        "jour": pc.day(when).cast(pa.int32()),
        "jour_semaine": pa.array(_DAYS).take(pc.day_of_week(when).combine_chunks()),
        "heure": pc.hour(when).cast(pa.int32()),
    }
    schema = lake.CLEAN.schema
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _rejected_rows(
    rows: pa.Table, is_valid: Mask, is_double: Mask, counted_at: Int64s, positions: Positions
) -> pa.Table:
    chosen = ~is_valid | is_double
    rejected = rows.filter(pa.array(chosen))
    doubles = pa.array(is_double[chosen])
    counted = _position_columns(counted_at[chosen], positions)
    columns = {
        **{name: rejected.column(name) for name in ("vente_id", "kafka_timestamp", "sequence")},
        **_position_columns(_int64s(rejected.column("_packed")), positions),
        "motif": pc.fill_null(rejected.column("motif"), event.DOUBLON),
        **{
            f"compte_{name}": pc.if_else(doubles, column, pa.scalar(None, column.type))
            for name, column in counted.items()
        },
    }
    schema = lake.REJECTED.schema
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _sale_columns(sales: pa.Table, new_clients: Int64s) -> pa.Table:
    cents = pc.multiply(sales.column("montant"), pa.scalar(100, pa.int8())).cast(pa.int64())
    return (
        sales.select(SALES_FIELDS)
        .append_column("montant_cents", cents)
        .append_column("nouveau_client", pa.array(new_clients))
    )


def _message_columns(rows: pa.Table, counts: Mask, is_double: Mask, lost: list[tuple[int, int]]) -> pa.Table:
    """Every message with its outcome, and the positions that were lost as rows of their own."""
    motifs = pc.if_else(
        pa.array(counts),
        event.VALIDE,
        pc.if_else(pa.array(is_double), event.DOUBLON, rows.column("motif").combine_chunks()),
    )
    table = pa.table(
        {
            "motif": motifs,
            "kafka_timestamp": rows.column("kafka_timestamp"),
            "messages": pa.repeat(1, rows.num_rows),
            "montant_arrondi": rows.column("montant_arrondi").cast(pa.int64()),
            **{f"nul_{name}": rows.column(name).is_null().cast(pa.int64()) for name in event.FIELD_NAMES},
        }
    )
    for count, timestamp_us in lost:
        zeros = {name: [0] for name in table.column_names if name.startswith("nul_") or name == "montant_arrondi"}
        row = {"motif": [event.PERDU], "kafka_timestamp": [timestamp_us], "messages": [count], **zeros}
        table = pa.concat_tables([table, pa.table(row, schema=table.schema)])
    return table
