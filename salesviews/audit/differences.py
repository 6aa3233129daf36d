"""Where two relations differ: rows that only one of them has, and columns whose values are not the same.

``expected`` is what Bronze gives, ``found`` is what a Silver table holds. Both are relations of one DuckDB connection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb

from salesviews import money

WHOLE_ROW = "*"
"""The column of a difference that is about a row as such: one side does not have it."""


@dataclass(frozen=True)
class Difference:
    """One value of a table that is not what Bronze gives.

    :param key: what identifies the row
    :param expected: what Bronze gives; None where it has no such row
    :param found: what the table holds; None where it has no such row
    :param position: a message in Bronze to look at: topic id, partition, offset
    """

    table: str
    key: Mapping[str, Any]
    column: str
    expected: Any
    found: Any
    position: Mapping[str, Any] | None = None


@dataclass
class Differences:
    """All of them are counted; of each table only the first are kept.

    :param limit: how many are kept of a table
    """

    limit: int
    totals: dict[str, int] = field(default_factory=dict)
    kept: list[Difference] = field(default_factory=list)

    def add(self, found: Sequence[Difference], total: int | None = None) -> None:
        """
        :param total: how many there are, where ``found`` is only some of them
        """
        for difference in found:
            held = sum(each.table == difference.table for each in self.kept)
            if held < self.limit:
                self.kept.append(difference)
        if found:
            table = found[0].table
            self.totals[table] = self.totals.get(table, 0) + (len(found) if total is None else max(total, len(found)))

    @property
    def total(self) -> int:
        return sum(self.totals.values())


def name(identifier: str) -> str:
    """The identifier, quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True)
class Comparison:
    """How two relations with the same columns are compared, row by row.

    :param keys: the columns that identify a row; never NULL in ``expected``
    :param columns: the columns that are compared
    :param money: those of them that are cents
    :param position: of ``expected``: the packed Bronze position to look at
    """

    table: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    money: frozenset[str] = frozenset()
    position: str = "position"

    def run(
        self,
        connection: duckdb.DuckDBPyConnection,
        expected: str,
        found: str,
        place: Callable[[int | None], Mapping[str, Any] | None],
        into: Differences,
    ) -> int:
        """Compare; give how many rows ``found`` has.

        A row that ``found`` has twice is a difference: the second one is found where none is expected.

        :param expected: a table or a query in parentheses; its rows are distinct by ``keys``
        :param place: a packed position as topic id, partition and offset
        """
        keys = [name(key) for key in self.keys]
        columns = [name(column) for column in self.columns]
        copies = f"row_number() OVER (PARTITION BY {', '.join(keys) or '1'})"
        same_row = " AND ".join(["e.copy = f.copy", *(f"e.{key} = f.{key}" for key in keys)])
        distinct = [f"e.{column} IS DISTINCT FROM f.{column}" for column in columns]
        one_side = "(e.copy IS NULL OR f.copy IS NULL)"
        count = " + ".join([f"({each})::INT" for each in distinct] or ["0"])
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE differing AS SELECT "
            "e.copy IS NOT NULL AS is_expected, f.copy IS NOT NULL AS is_found, "
            + "".join(f"coalesce(e.{key}, f.{key}) AS {key}, " for key in keys)
            + "".join(
                f"e.{column} AS {name('e_' + plain)}, f.{column} AS {name('f_' + plain)}, "
                for column, plain in zip(columns, self.columns, strict=True)
            )
            + f"e.{name(self.position)} AS packed_position, "
            f"CASE WHEN {one_side} THEN 1 ELSE {count} END AS differences "
            f"FROM (SELECT *, 1 AS copy FROM {expected}) AS e "
            f"FULL OUTER JOIN (SELECT *, {copies} AS copy FROM {found}) AS f ON {same_row} "
            f"WHERE {' OR '.join([one_side, *distinct])}"
        )
        [(total,)] = connection.execute("SELECT coalesce(sum(differences), 0)::BIGINT FROM differing").fetchall()
        if total:
            shown = connection.sql(f"SELECT * FROM differing ORDER BY ALL LIMIT {into.limit}")
            rows = shown.to_arrow_table().to_pylist()
            into.add([difference for row in rows for difference in self._of_row(row, place)], total)
        [(count_found,)] = connection.execute(f"SELECT count(*) FROM {found}").fetchall()
        return int(count_found)

    def _of_row(
        self, row: Mapping[str, Any], place: Callable[[int | None], Mapping[str, Any] | None]
    ) -> list[Difference]:
        key = {each: row[each] for each in self.keys}
        if self.keys == (self.position,):
            position = place(row[self.position])
            key = dict(position or {})
        else:
            position = place(row["packed_position"])
        sides = {side: {each: self._shown(each, row[f"{side}_{each}"]) for each in self.columns} for side in "ef"}
        if not (row["is_expected"] and row["is_found"]):
            expected = sides["e"] if row["is_expected"] else None
            found = sides["f"] if row["is_found"] else None
            return [Difference(self.table, key, WHOLE_ROW, expected, found, position)]
        return [
            Difference(self.table, key, each, sides["e"][each], sides["f"][each], position)
            for each in self.columns
            if sides["e"][each] != sides["f"][each]
        ]

    def _shown(self, column: str, value: Any) -> Any:
        if column in self.money and value is not None:
            return money.text_of(int(value))
        if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
            return int(value)
        return value
