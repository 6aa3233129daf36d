"""Every figure of a snapshot computed again from Bronze's payloads, in a DuckDB database in a temporary folder.

A message's packed position is the number of its source partition and its offset. The tables that ``Recount`` makes:

- ``places``: each row of ``ventes_clean`` and ``ventes_rejetees`` that the snapshot covers: position, sequence, a hash
- ``judged``: each message of Bronze that it covers: what its payload gives, and what ``places`` has for it
- ``doubles``: the valid messages that are duplicates, with the position of the sale that counts
- ``ventes`` and ``messages``: the relations that views read

The order between partitions is Silver's to choose, so it is taken from there; all else follows from it and Bronze.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from salesviews import classification, event, lake, money, typed, views
from salesviews.audit.differences import name
from salesviews.lake import Lake, Table
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.typed import OFFSET_BITS, SourcePartition

DERIVED = {
    "annee": "year",
    "mois": "month",
    "jour": "day",
    "jour_semaine": "dayname",
    "heure": "hour",
}
"""Columns of ``ventes_clean`` beside the fields, and the SQL function of ``timestamp`` that gives each."""

CLEAN_COLUMNS: tuple[str, ...] = (*event.FIELD_NAMES, *DERIVED)

_BLOCK_BITS = 4
_UNPLACED = 1 << 62
"""Messages that Silver does not have come after all others."""

_FIELDS = ", ".join(map(name, event.FIELD_NAMES))


@dataclass(frozen=True)
class Sample:
    """A share of the positions, in blocks of 16 of a source partition: neighbours show whether their order is right."""

    share: float
    seed: int

    @property
    def condition(self) -> str:
        """SQL for: the position is in the sample."""
        return f"hash(position >> {_BLOCK_BITS}, {self.seed}) < {int(self.share * 2**64)}::UHUGEINT"


class Recount:
    """The tables, and the differences that only making them shows.

    :param folder: for the database; it takes about as much space as Bronze
    :param bronze: the version of Bronze that is read
    :param on_read: called with a number of messages of Bronze, each time that so many more were read
    """

    def __init__(
        self,
        source: Lake,
        snapshot: Manifest,
        bronze: files.Listing,
        folder: Path,
        dedup_days: int,
        sample: Sample | None,
        memory_mb: int,
        on_read: Callable[[int], object] = lambda _rows: None,
    ) -> None:
        self._lake = source
        self._snapshot = snapshot
        self._bronze = bronze
        self._dedup_days = dedup_days
        self._sample = sample
        self._on_read = on_read
        self.sources: list[SourcePartition] = sorted(snapshot.positions)
        self.connection = duckdb.connect(folder / "audit.duckdb")
        for setting, value in {
            "TimeZone": "UTC",
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
        }.items():
            self.connection.execute(f"SET {setting} = $value", {"value": value})
        self._create_sources()

    def close(self) -> None:
        self.connection.close()

    def place(self, packed: int | None) -> Mapping[str, Any] | None:
        """A packed position as topic id, partition and offset."""
        if packed is None:
            return None
        source = self.sources[packed >> OFFSET_BITS]
        offset = packed & ((1 << OFFSET_BITS) - 1)
        return {"topic_id": source.topic_id, "partition": source.partition, "offset": offset}

    # ---- Silver's and Bronze's rows ----

    def forget_strangers(self) -> int:
        """Leave out rows of source partitions that the snapshot does not name. Gives how many there were."""
        [(strangers,)] = self.connection.execute("SELECT count(*) FROM places WHERE position IS NULL").fetchall()
        self.connection.execute("DELETE FROM places WHERE position IS NULL")
        return int(strangers)

    def forget_places(self) -> None:
        """Go on as if Silver had no row of any message."""
        self.connection.execute(
            "DROP TABLE IF EXISTS places; DROP TABLE IF EXISTS rejetees; DROP TABLE IF EXISTS rejected;"
            "CREATE TABLE places (position BIGINT, sequence BIGINT, is_clean BOOLEAN, content UBIGINT)"
        )

    def load_places(self) -> None:
        """``places`` and ``rejetees``; their position is NULL in source partitions that the snapshot does not name."""
        derived = [f"hash({', '.join(map(name, CLEAN_COLUMNS))})"]
        self.connection.execute(
            "CREATE TABLE places (position BIGINT, sequence BIGINT, is_clean BOOLEAN, content UBIGINT);"
            "CREATE TABLE rejetees (position BIGINT, motif VARCHAR, vente_id BIGINT, kafka_timestamp TIMESTAMPTZ, "
            "compte BIGINT)"
        )
        columns = ("partition", "offset", "topic_id", "sequence")
        with self._reading(lake.CLEAN, (*CLEAN_COLUMNS, *columns)):
            self.connection.execute(
                f"INSERT INTO places SELECT * FROM (SELECT {_packed()}, sequence, true, {', '.join(derived)} "
                f"FROM arriving AS a LEFT JOIN sources AS s ON {_of_source('s')} "
                f"WHERE sequence <= {self._snapshot.sequence}) AS t(position, s, c, h) {self._where()}"
            )
        counted = ("compte_partition", "compte_offset", "compte_topic_id")
        with self._reading(lake.REJECTED, ("motif", "vente_id", "kafka_timestamp", *columns, *counted)):
            self.connection.execute(
                "CREATE TEMP TABLE rejected AS SELECT * FROM ("
                f"SELECT {_packed()} AS position, sequence, motif, vente_id, kafka_timestamp, "
                f"(c.number << {OFFSET_BITS}) | a.compte_offset AS compte FROM arriving AS a "
                f"LEFT JOIN sources AS s ON {_of_source('s')} LEFT JOIN sources AS c ON "
                f"c.topic_id = a.compte_topic_id AND c.partition = a.compte_partition "
                f"WHERE sequence <= {self._snapshot.sequence}) {self._where()}"
            )
        self.connection.execute(
            "INSERT INTO places SELECT position, sequence, false, NULL FROM rejected;"
            "INSERT INTO rejetees SELECT position, motif, vente_id, kafka_timestamp, compte FROM rejected"
        )

    def load_bronze(self) -> None:
        """``judged``: the one pass over the payloads."""
        schema = lake.BRONZE.schema
        stored = {f"stored_{each}": name(each) for each in (*event.FIELD_NAMES, "jour")}
        relation = (
            f"(SELECT * FROM (SELECT {_packed()} AS position, a.payload, a.kafka_timestamp, "
            + ", ".join(f"a.{column} AS {alias}" for alias, column in stored.items())
            + f' FROM arriving AS a JOIN sources AS s ON {_of_source("s")} AND a."offset" < s.end_offset) '
            f"{self._where()})"
        )
        judged = classification.sql(relation, ("position", "kafka_timestamp", *stored))
        same = " AND ".join(f"{name(each)} IS NOT DISTINCT FROM stored_{each}" for each in (*event.FIELD_NAMES, "jour"))
        shown = ", ".join(f"{name(each)} := stored_{each}" for each in (*event.FIELD_NAMES, "jour"))
        content = ", ".join(
            [_FIELDS, *(f'{function}("timestamp")::{_integer(column)}' for column, function in DERIVED.items())]
        )
        columns = ("payload", "kafka_timestamp", *event.FIELD_NAMES, "jour", "topic_id", "partition", "offset")
        # places is what is held, and the messages stream past it, whatever DuckDB believes of their numbers.
        self.connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        try:
            with self._reading(lake.BRONZE, tuple(each for each in schema.names if each in columns)):
                self.connection.execute(
                    f"CREATE TABLE judged AS SELECT j.position, j.kafka_timestamp, {_FIELDS}, motif, montant_arrondi, "
                    f"j.jour, CASE WHEN NOT ({same}) THEN struct_pack({shown}) END AS stored, "
                    f"p.sequence, coalesce(p.sequence, {_UNPLACED} + j.position) AS ordinal, "
                    f"p.is_clean, motif IS NULL AND p.content IS DISTINCT FROM hash({content}) AS is_other "
                    f'FROM (SELECT * REPLACE (timezone(\'UTC\', "timestamp") AS "timestamp") FROM ({judged})) AS j '
                    "LEFT JOIN places AS p ON p.position = j.position"
                )
        finally:
            self.connection.execute("RESET disabled_optimizers")

    def once(self, table: str) -> list[tuple[int, int]]:
        """Positions that a table has more than once, and how often; all but one of each are deleted."""
        repeated = self.connection.execute(
            f"SELECT position, count(*) FROM {table} GROUP BY position HAVING count(*) > 1 ORDER BY ALL"
        ).fetchall()
        if repeated:
            self.connection.execute(
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER "
                f"(PARTITION BY position ORDER BY rowid) AS place FROM {table}) WHERE place > 1)"
            )
        return repeated

    # ---- What follows from Bronze and the order ----

    def find_doubles(self) -> None:
        """``doubles``: of the valid messages of an id, all but the first in the total order, within the horizon.

        The horizon moves with the days of Kafka timestamps, a typed batch at a time, as it does when sales are counted.
        A sample cannot know the first message of an id, and takes Silver's word.
        """
        if self._sample:
            self.connection.execute(
                "CREATE TABLE doubles AS SELECT position, compte FROM rejetees JOIN judged AS j USING (position) "
                "WHERE j.motif IS NULL"
            )
            return
        self.connection.execute(
            f"""
            CREATE TABLE days AS SELECT batch, max(day) OVER (ORDER BY batch) AS day FROM (
                SELECT sequence >> {typed.ROW_BITS} AS batch, max(epoch_us(kafka_timestamp) // 86400000000) AS day
                FROM judged WHERE sequence IS NOT NULL GROUP BY ALL);
            CREATE TABLE contested AS SELECT j.vente_id, j.position, j.ordinal, d.day
            FROM (SELECT * FROM judged SEMI JOIN (
                SELECT vente_id FROM judged WHERE motif IS NULL GROUP BY vente_id HAVING count(*) > 1
            ) USING (vente_id) WHERE motif IS NULL) AS j
            LEFT JOIN days AS d ON d.batch = j.sequence >> {typed.ROW_BITS};
            CREATE TABLE ids AS SELECT vente_id, arg_min(position, ordinal) AS first_position,
                coalesce(max(day) - min(day), 0) > {self._dedup_days} AS is_wide
            FROM contested GROUP BY vente_id;
            CREATE TABLE doubles AS SELECT c.position, i.first_position AS compte FROM contested AS c
            JOIN ids AS i USING (vente_id) WHERE NOT i.is_wide AND c.position <> i.first_position
            """
        )
        self.connection.register("wide_doubles", self._wide_doubles())
        self.connection.execute("INSERT INTO doubles SELECT * FROM wide_doubles")
        self.connection.unregister("wide_doubles")

    def _wide_doubles(self) -> pa.Table:
        """The duplicates of ids that were sent again after more than the horizon, which may count again."""
        rows = self.connection.execute(
            "SELECT vente_id, position, day FROM contested SEMI JOIN (SELECT vente_id FROM ids WHERE is_wide) "
            "USING (vente_id) ORDER BY vente_id, ordinal"
        ).fetchall()
        positions, counted_at = [], []
        counted: tuple[int, int, int] | None = None
        for vente_id, position, day in rows:
            is_known = counted is not None and counted[0] == vente_id
            if counted is None or not is_known or (day is not None and counted[2] < day - self._dedup_days):
                counted = (vente_id, position, day or 0)
            else:
                positions.append(position)
                counted_at.append(counted[1])
        return pa.table({"position": pa.array(positions, pa.int64()), "compte": pa.array(counted_at, pa.int64())})

    def make_relations(self) -> None:
        """``ventes`` and ``messages``, with the columns that the views' expressions read."""
        group = ", ".join(dimension.sql for dimension in views.VENTES_PRODUIT_PAYS.key)
        self.connection.execute(
            f"""
            CREATE TABLE firsts AS SELECT min(ordinal) AS ordinal, 1 AS nouveau_client
            FROM judged ANTI JOIN doubles USING (position) WHERE motif IS NULL
            GROUP BY year("timestamp"), month("timestamp"), client_id, {group};
            CREATE TABLE {views.Source.SALES} AS SELECT position, {", ".join(map(name, views.SALES_FIELDS))},
                {money.cents_sql("montant")} AS montant_cents,
                coalesce(nouveau_client, 0) AS nouveau_client
            FROM judged ANTI JOIN doubles USING (position) LEFT JOIN firsts USING (ordinal) WHERE motif IS NULL;
            DROP TABLE firsts;
            CREATE VIEW {views.Source.MESSAGES} AS SELECT position, kafka_timestamp, 1 AS messages,
                CASE WHEN d.position IS NOT NULL THEN '{event.DOUBLON}' ELSE coalesce(motif, '{event.VALIDE}') END
                    AS motif,
                montant_arrondi::BIGINT AS montant_arrondi,
                {", ".join(f"({name(each)} IS NULL)::BIGINT AS nul_{each}" for each in event.FIELD_NAMES)}
            FROM judged LEFT JOIN doubles AS d USING (position)
            """
        )

    def make_view(self, view: views.View) -> str:
        """A view's rows as a table, amounts in cents. Gives its name."""
        rows = view.rows_sql(view.source, "min(position) AS position")
        self.connection.execute(f"CREATE TABLE {recomputed(view)} AS {rows}")
        return recomputed(view)

    def roll_up(self, roll_up: views.RollUp) -> str:
        """A roll-up's rows as a query, amounts in cents; its view was made."""
        return f"({roll_up.rows_sql(recomputed(roll_up.view), 'min(position) AS position')})"

    def found(self, table: Table, is_money: Iterable[str]) -> str:
        """A view or roll-up as Silver holds it at the snapshot, as a table with amounts in cents. Gives its name."""
        listed = self._snapshot.listing(self._lake, table)
        rows = files.rows(self._lake, listed, listed.files)
        for column in is_money:
            place = rows.column_names.index(column)
            amounts = rows.column(place).cast(money.SUM_ARROW)
            rows = rows.set_column(place, column, money.cents_column_of(amounts))
        numbers = [each.name for each in rows.schema if pa.types.is_decimal(each.type) or pa.types.is_int64(each.type)]
        replaced = ", ".join(f"{name(each)}::HUGEINT AS {name(each)}" for each in numbers)
        held = f"trouve_{table.name.rpartition('/')[2]}"
        self.connection.register("rows", rows)
        self.connection.execute(f"CREATE TABLE {held} AS SELECT * REPLACE ({replaced}) FROM rows")
        self.connection.unregister("rows")
        return held

    def clean_rows(self, positions: Sequence[int]) -> str:
        """A few rows of ``ventes_clean``, as a table by packed position. Gives its name."""
        wanted = ", ".join(map(str, positions)) or "NULL"
        with self._reading(lake.CLEAN, (*CLEAN_COLUMNS, "partition", "offset", "topic_id", "sequence")):
            self.connection.execute(
                f"CREATE OR REPLACE TABLE some_clean AS SELECT * FROM (SELECT {_packed()} AS position, "
                f"{', '.join(map(name, CLEAN_COLUMNS))} FROM arriving AS a JOIN sources AS s ON {_of_source('s')} "
                f"WHERE sequence <= {self._snapshot.sequence}) WHERE position IN ({wanted})"
            )
        return "some_clean"

    # ---- Reading ----

    def _create_sources(self) -> None:
        rows = [
            {"number": number, "topic_id": each.topic_id, "partition": each.partition, "end_offset": end}
            for number, (each, end) in enumerate(sorted(self._snapshot.positions.items()))
        ]
        kinds = [
            ("number", pa.int64()),
            ("topic_id", pa.string()),
            ("partition", pa.int32()),
            ("end_offset", pa.int64()),
        ]
        self.connection.register("rows", pa.Table.from_pylist(rows, schema=pa.schema(kinds)))
        self.connection.execute("CREATE TABLE sources AS SELECT * FROM rows")
        self.connection.unregister("rows")

    def _where(self) -> str:
        return f"WHERE {self._sample.condition}" if self._sample else ""

    def _reading(self, table: Table, columns: Sequence[str]) -> AbstractContextManager[None]:
        """Streams a table as ``arriving``, which can be read once."""
        listed = self._bronze
        if table is not lake.BRONZE:
            listed = self._snapshot.listing(self._lake, table)
        on_read = self._on_read if table is lake.BRONZE else None
        return files.streamed(self.connection, "arriving", self._lake, [listed], columns, on_read)


def _packed() -> str:
    return f'(s.number << {OFFSET_BITS}) | a."offset"'


def _of_source(alias: str) -> str:
    return f"{alias}.topic_id = a.topic_id AND {alias}.partition = a.partition"


def recomputed(view: views.View) -> str:
    """The table that ``Recount.make_view`` makes."""
    return f"attendu_{view.name}"


def _integer(column: str) -> str:
    return "VARCHAR" if column == "jour_semaine" else "INTEGER"
