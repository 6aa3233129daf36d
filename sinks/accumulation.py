"""Views that are kept in their own tables (``views.Kept.IN_SILVER``): what is held, and what new sales add to it.

There is no state beside the table: a snapshot reads the months that its sales fall in, adds, and overwrites them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from salesviews import money
from salesviews.audit.differences import name
from salesviews.lake import of_view
from salesviews.views import SALES_FIELDS, Source, View
from sinks.contents import Month, as_declared, with_cents

_RELATION = (
    f"(SELECT {', '.join(map(name, SALES_FIELDS))}, {money.cents_sql('montant')} AS montant_cents FROM clean) "
    f"AS {Source.SALES}"
)


@dataclass(frozen=True)
class Accumulated:
    """
    :param months: those that gained sales, in order
    :param rows: all rows of the view's table in these months
    """

    months: list[Month]
    rows: pa.Table


class Accumulation:
    """Adds sales to what tables hold. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")

    def add(
        self, view: View, sales: pa.Table | pa.RecordBatchReader, read: Callable[[Sequence[Month]], pa.Table]
    ) -> Accumulated:
        """What a view's table holds with some sales more.

        :param sales: rows of ``lake.CLEAN``, none of which it holds; they are read once
        :param read: the rows of the table in some months
        """
        connection = self._connection
        connection.register("clean", sales)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE gained AS {view.rows_sql(_RELATION)}")
        months = connection.execute("SELECT DISTINCT annee, mois FROM gained ORDER BY ALL").fetchall()
        connection.register("held", with_cents(read(months), view))
        table = of_view(view)
        combined = {
            measure.name: f"{measure.combination}({name(measure.name)}) AS {name(measure.name)}"
            for measure in view.measures
        }
        columns = ", ".join(combined.get(column, name(column)) for column in table.schema.names)
        order = ", ".join((view.window.column, *view.key_names))
        rows = connection.sql(
            f"SELECT {columns} FROM (FROM gained UNION ALL BY NAME FROM held) GROUP BY ALL ORDER BY {order}"
        ).to_arrow_table()
        for each in ("clean", "held"):
            connection.unregister(each)
        return Accumulated(months, as_declared(rows, table, view.money_names))
