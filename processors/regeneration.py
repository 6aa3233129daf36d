"""Every Silver table, and what ``views`` would know, computed from Bronze: the figures of a new generation.

It stands on ``Recount``, which judges Bronze's payloads by this program's rules. The total order is the one in which
the sales were counted before, where Silver still has it whole: then only what the rules change is changed. Otherwise
messages are ordered by Kafka's timestamps, each source partition in its own order. Both are the same whenever they are
computed again. Places in the order are below 0, so that what is counted from now on comes after.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from processors.positions import Boundary, Mark, Positions
from salesviews import event, lake, seed, typed, views
from salesviews.audit.differences import name
from salesviews.audit.recount import DERIVED, Recount, recomputed
from salesviews.errors import LakeError
from salesviews.manifest import Manifest
from salesviews.typed import OFFSET_BITS, SourcePartition
from sinks.contents import as_declared

_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_NEW_BATCH_BITS = typed.ROW_BITS - 1
"""Messages that were not counted before get places in batches of so many bits, and of one day of Kafka timestamps."""
_BATCH_ROWS = 65_536


class Regeneration:
    """The tables. Call ``judge`` first, then what is wanted.

    :param before: the snapshot that this replaces; its positions are covered by those of ``recount``
    """

    def __init__(self, recount: Recount, before: Manifest, dedup_days: int) -> None:
        self._recount = recount
        self._before = before
        self._dedup_days = dedup_days
        self.messages = 0
        self.valid = 0
        """Sales that count."""
        self.valid_before: int | None = None
        """Rows of ``ventes_clean`` in the snapshot before; None where they are not known."""
        self.is_order_kept = False
        """Whether the total order is that of the snapshot before."""
        self.order_lost_because = ""
        self.gone = 0
        """Messages that the snapshot before has judged, and that Bronze does not have."""
        self.first_gone: Mapping[str, Any] | None = None
        """The position of the first of them."""
        self.without_row = 0
        """Positions before the ends that Bronze has no row of."""

    def judge(self) -> None:
        """Judge each message of Bronze, and put them in order."""
        try:
            self._load_places()
        except LakeError as error:
            self.order_lost_because = str(error)
            self._recount.forget_places()
        self._recount.load_bronze()
        self._recount.once("judged")
        [(self.messages,)] = self._query("SELECT count(*) FROM judged")
        self._find_gone()
        self._order()
        self._recount.find_doubles()
        [(self.valid,)] = self._query(
            "SELECT count(*) FROM judged ANTI JOIN doubles USING (position) WHERE motif IS NULL"
        )
        self._recount.make_relations()
        for view in views.VIEWS:
            self._recount.make_view(view)

    def _load_places(self) -> None:
        if self._before.is_empty:
            raise LakeError("there were no figures before.")
        self._recount.load_places()
        [(self.valid_before,)] = self._query("SELECT count(*) FROM places WHERE is_clean")
        self._recount.forget_strangers()

    def _find_gone(self) -> None:
        [(self.gone, first)] = self._query(
            "SELECT count(*), min(position) FROM places ANTI JOIN judged USING (position)"
        )
        self.first_gone = self._recount.place(first)
        [(positions,)] = self._query("SELECT coalesce(sum(end_offset), 0)::BIGINT FROM sources")
        self.without_row = positions - self.messages

    def _order(self) -> None:
        """Give each message its place."""
        if not self.order_lost_because:
            self.order_lost_because = self._why_no_order()
        self.is_order_kept = not self.order_lost_because
        before = "sequence" if self.is_order_kept else "NULL::BIGINT"
        self._recount.connection.execute(
            f"""
            CREATE TABLE ordering AS SELECT position, is_new, batch, day,
                row_number() OVER (ORDER BY is_new, sequence, reached_us, position) AS rank
            FROM (SELECT position, {before} AS sequence, {before} IS NULL AS is_new,
                {before} >> {typed.ROW_BITS} AS batch, reached_us, reached_us // 86400000000 AS day
                FROM (SELECT position, sequence, max(epoch_us(kafka_timestamp))
                    OVER (PARTITION BY position >> {OFFSET_BITS} ORDER BY position) AS reached_us FROM judged));
            CREATE TABLE numbered AS SELECT position, rank, dense_rank() OVER (ORDER BY is_new, coalesce(batch, day),
                CASE WHEN is_new THEN rank >> {_NEW_BATCH_BITS} END) AS batch FROM ordering;
            DROP TABLE ordering;
            CREATE TABLE places_now AS
            SELECT position, (batch - 1 - max(batch) OVER ()) * {1 << typed.ROW_BITS} + rank - start AS sequence
            FROM numbered JOIN (SELECT batch, min(rank) AS start FROM numbered GROUP BY batch) USING (batch);
            DROP TABLE numbered;
            CREATE TABLE judged_now AS SELECT j.* REPLACE (p.sequence AS sequence, p.sequence AS ordinal)
            FROM judged AS j JOIN places_now AS p USING (position);
            DROP TABLE places_now;
            DROP TABLE judged;
            ALTER TABLE judged_now RENAME TO judged
            """
        )

    def _why_no_order(self) -> str:
        """Why the order of the snapshot before cannot be kept; empty where it can."""
        ends = {number: self._before.positions.get(source, 0) for number, source in enumerate(self._recount.sources)}
        conditions = " OR ".join(
            f"(position >> {OFFSET_BITS} = {number} AND position & {_OFFSET_MASK} < {end})"
            for number, end in ends.items()
        )
        [(missing,)] = self._query(f"SELECT count(*) FROM judged WHERE sequence IS NULL AND ({conditions or 'false'})")
        if missing:
            return f"{missing:,} messages that were counted are not in ventes_clean or ventes_rejetees"
        [(turned,)] = self._query(
            "SELECT count(*) FROM (SELECT sequence, lag(sequence) OVER "
            f"(PARTITION BY position >> {OFFSET_BITS} ORDER BY position) AS before FROM judged) "
            "WHERE sequence <= before"
        )
        return f"{turned:,} messages are not in their partition's order there" if turned else ""

    # ---- The tables ----

    def clean(self) -> pa.RecordBatchReader:
        """The rows of ``ventes_clean``, month by month, each in order."""
        columns = {
            **{each: name(each) for each in event.FIELD_NAMES},
            **{column: f'{function}("timestamp")' for column, function in DERIVED.items()},
            **_POSITION,
            "sequence": "sequence",
        }
        return self._rows(
            lake.CLEAN,
            columns,
            f"(SELECT *, {_place('position', '')} FROM judged ANTI JOIN doubles USING (position) WHERE motif IS NULL) "
            "AS j JOIN sources AS s ON s.number = j.number",
            "annee, mois, sequence",
        )

    def rejected(self) -> pa.RecordBatchReader:
        """The rows of ``ventes_rejetees``, in order."""
        columns = {
            "motif": f"coalesce(motif, '{event.DOUBLON}')",
            "vente_id": "vente_id",
            **_POSITION,
            "kafka_timestamp": "kafka_timestamp",
            "sequence": "sequence",
            "compte_partition": "c.partition",
            "compte_offset": "compte_offset",
            "compte_topic_id": "c.topic_id",
        }
        return self._rows(
            lake.REJECTED,
            columns,
            f"(SELECT j.*, {_place('j.position', '')}, {_place('d.compte', 'compte_')} FROM judged AS j "
            "LEFT JOIN doubles AS d USING (position) WHERE motif IS NOT NULL OR d.position IS NOT NULL) AS j "
            "JOIN sources AS s ON s.number = j.number LEFT JOIN sources AS c ON c.number = j.compte_number",
            "sequence",
        )

    def view(self, view: views.View) -> pa.Table:
        """The rows of a view's table."""
        table = lake.of_view(view)
        order = ", ".join((view.window.column, *view.key_names))
        rows = self._recount.connection.sql(
            f"SELECT {', '.join(map(name, table.schema.names))} FROM {recomputed(view)} ORDER BY {order}"
        )
        return as_declared(rows.to_arrow_table(), table, view.money_names)

    def roll_up(self, roll_up: views.RollUp) -> pa.Table:
        """The rows of a roll-up's table."""
        table = lake.of_roll_up(roll_up)
        rows = self._recount.connection.sql(
            f"SELECT {', '.join(map(name, table.schema.names))} FROM {self._recount.roll_up(roll_up)} "
            f"ORDER BY {', '.join(roll_up.group)}"
        )
        return as_declared(rows.to_arrow_table(), table, roll_up.money_names)

    def keep_lost(self, found: pa.Table) -> int:
        """Take over what only the snapshot before knows: positions that Kafka deleted before they were read.

        :param found: the rows of its ``qualite``; columns that this program does not declare are left out
        :return: how many positions
        """
        quality = views.QUALITE
        columns = [each for each in lake.of_view(quality).schema.names if each in found.column_names]
        self._recount.connection.register("found", found)
        [(lost,)] = self._query(f"SELECT coalesce(sum(messages), 0)::BIGINT FROM found WHERE motif = '{event.PERDU}'")
        zeros = ", ".join(
            f"0::HUGEINT AS {name(measure)}" for measure in quality.measure_names if measure not in columns
        )
        self._recount.connection.execute(
            f"INSERT INTO {recomputed(quality)} BY NAME SELECT {', '.join(map(name, columns))}"
            f"{f', {zeros}' if zeros else ''} FROM found WHERE motif = '{event.PERDU}'"
        )
        self._recount.connection.unregister("found")
        return int(lost)

    # ---- What views would know ----

    def positions(self, covered: Mapping[SourcePartition, int]) -> Positions:
        """High-water marks, and where the days of the dedup horizon began.

        :param covered: the next position of each source partition
        """
        sources = self._recount.sources
        marks = [Mark(source, covered[source], covered[source]) for source in sources]
        self._recount.connection.execute(
            f"CREATE OR REPLACE TABLE batch_ends AS SELECT sequence >> {typed.ROW_BITS} AS batch, "
            f"position >> {OFFSET_BITS} AS number, max(position & {_OFFSET_MASK}) + 1 AS end_offset "
            "FROM judged GROUP BY ALL"
        )
        days = self._query(
            "SELECT batch, day FROM (SELECT batch, day, lag(day) OVER (ORDER BY batch) AS before FROM days) "
            "WHERE before IS NULL OR day > before ORDER BY batch"
        )
        boundaries = []
        for batch, day in days:
            if day < days[-1][1] - self._dedup_days:
                continue
            reached: dict[int, int] = dict(
                self._query(f"SELECT number, max(end_offset) FROM batch_ends WHERE batch < {batch} GROUP BY ALL")
            )
            boundaries.append(Boundary(day, [reached.get(number, 0) for number in range(len(sources))]))
        return Positions(marks, boundaries)

    def sums(self) -> Iterator[seed.Sums]:
        """The sums of each key and window of each view that is kept in windows, in pieces."""
        for view in views.kept(views.Kept.IN_WINDOWS):
            measures = [
                f"epoch_us({name(each.name)}) AS {name(each.name)}"
                if each.unit is views.Unit.MOMENT_US
                else name(each.name)
                for each in view.measures
            ]
            start = f"epoch_us({view.window.column}::TIMESTAMPTZ) // 1000 AS start_ms"
            columns = [*map(name, view.key_names), start, *measures]
            cursor = self._recount.connection.cursor()
            cursor.execute("SET TimeZone = 'UTC'")
            found = cursor.sql(f"SELECT {', '.join(columns)} FROM {recomputed(view)}")
            for batch in found.to_arrow_reader(seed.ROWS_A_MESSAGE):
                yield view, pa.table(_cast(batch, seed.schema(view)))
            cursor.close()

    def _rows(self, table: lake.Table, columns: dict[str, str], source: str, order: str) -> pa.RecordBatchReader:
        shown = ", ".join(f"{columns[each]} AS {name(each)}" for each in table.schema.names)
        found = self._recount.connection.sql(f"SELECT {shown} FROM {source} ORDER BY {order}")
        reader = found.to_arrow_reader(_BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(table.schema, (_cast(batch, table.schema) for batch in reader))

    def _query(self, query: str) -> list[Any]:
        return self._recount.connection.execute(query).fetchall()


_POSITION = {"partition": "s.partition", "offset": '"offset"', "topic_id": "s.topic_id"}


def _place(packed: str, prefix: str) -> str:
    return f'{packed} >> {OFFSET_BITS} AS {prefix}number, {packed} & {_OFFSET_MASK} AS "{prefix}offset"'


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch(
        [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
    )
