"""The materialized views and their roll-ups, declared as values. Adding a view is adding one ``View`` to ``VIEWS``.

A view is keyed sums over tumbling windows. ``processors/views`` combines and sums it, ``sinks/silver`` writes its
table, ``vues-<name>`` carries its changes, ``web`` loads it: all from the declaration.

Measures only ever add, or are the least or the most, which is what makes a view exact under late data, replay and any
batching.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

import pyarrow as pa

from salesviews import event, money


class Source(StrEnum):
    """The relation that a view's expressions read (columns: ``salesviews.typed``)."""

    SALES = "ventes"
    """The sales that count: valid, first of their ``vente_id``; with ``nouveau_client``."""
    MESSAGES = "messages"
    """Every received message with its outcome in ``motif`` (``valide``, ``doublon`` or a rejection)."""


_COUNTS = {Source.SALES: "count(*)", Source.MESSAGES: "sum(messages)"}
"""The measure that has one for each row of a source."""


class Kept(StrEnum):
    """Where the sums of a view are kept, and so what a key costs."""

    IN_WINDOWS = "windows"
    """In the windows of Quix Streams, as tables: some 20 µs for each page of keys that a take touches. ``vues-<name>``
    has the rows that each snapshot changes."""
    IN_SILVER = "silver"
    """In its own table: a snapshot adds the sales since the one before (``sinks.accumulation``). For keys that hardly
    combine, as there are many of them. Its source is ``SALES``, without ``nouveau_client``; it has no topic."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


SALES_FIELDS = ("client_id", "timestamp", "quantite", "produit_nom", "categorie", "pays", "segment")
"""The fields of a sale that are columns of ``Source.SALES``, beside ``montant_cents`` and ``nouveau_client``."""


@dataclass(frozen=True)
class Window:
    """A tumbling window: its column is the window's start in UTC."""

    column: str
    duration: timedelta
    arrow: pa.DataType

    def start_ms_sql(self, clock: str) -> str:
        """SQL for the start of the window of a timestamp column, in milliseconds.

        By microseconds: DuckDB rounds to milliseconds, and would put the last half of one into the next window.
        """
        duration_ms = self.duration // timedelta(milliseconds=1)
        return f"epoch_us({clock}) // {duration_ms * 1000} * {duration_ms}"

    def start(self, moment: datetime) -> datetime:
        """Of the window that a moment is in."""
        return moment - (moment - _EPOCH) % self.duration

    def end(self, start: datetime) -> datetime:
        """Where the window after it starts."""
        return start + self.duration


@dataclass(frozen=True)
class CalendarMonth(Window):
    """A month, by the calendar. Only views that are kept in Silver can have it: Quix Streams' windows are all as long.

    :param duration: of the longest
    """

    def start_ms_sql(self, clock: str) -> str:
        # Without its zone, which is UTC's: truncating with one is slow.
        return f"epoch_us(date_trunc('month', make_timestamp(epoch_us({clock})))) // 1000"

    def start(self, moment: datetime) -> datetime:
        return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    def end(self, start: datetime) -> datetime:
        return self.start(start + self.duration)


HOUR = Window("heure", timedelta(hours=1), pa.timestamp("us", tz="UTC"))
DAY = Window("jour", timedelta(days=1), pa.date32())
MONTH = CalendarMonth("debut_mois", timedelta(days=31), pa.date32())


@dataclass(frozen=True)
class Dimension:
    """A key column of a view.

    :param sql: its value for one row of the source; never NULL
    :param is_personal: its values are single persons: who may see figures of it is limited
    """

    name: str
    sql: str
    arrow: pa.DataType
    doc: str
    example: str = field(default="", repr=False)
    # It decides who may see a figure, not what the figure is: no part of the definition's digest.
    is_personal: bool = field(default=False, repr=False)


class Unit(StrEnum):
    """What the integers of a measure are. Its column holds any sum of them, however large the sales."""

    COUNT = "count"
    QUANTITY = "quantity"
    CENTS = "cents"
    """The column is the amount."""
    MOMENT_US = "moment_us"
    """Microseconds since 1970; the column is the moment, in UTC."""


_ARROW_TYPES = {
    Unit.COUNT: pa.int64(),
    Unit.QUANTITY: pa.decimal128(38, 0),
    Unit.CENTS: money.SUM_ARROW,
    Unit.MOMENT_US: pa.timestamp("us", tz="UTC"),
}


class Combination(StrEnum):
    """How two values of a measure become one: the name of DuckDB's aggregate. Order and repetition of parts are one."""

    SUM = "sum"
    LEAST = "min"
    MOST = "max"

    def of(self, held: int, gained: int) -> int:
        match self:
            case Combination.SUM:
                return held + gained
            case Combination.LEAST:
                return min(held, gained)
            case Combination.MOST:
                return max(held, gained)


@dataclass(frozen=True)
class Distinct:
    """Within what a measure counts each thing once. A sum beyond it would count things again: it is never made.

    :param keys: one value of each of these key columns
    :param period: one ``month`` of the calendar, whole
    """

    keys: tuple[str, ...]
    period: Literal["month"]


@dataclass(frozen=True)
class Measure:
    """A sum of integers over the rows of a window, or the least or the most of them.

    :param sql: the aggregate over the source's rows, an integer and never NULL
    :param combination: of the values of two parts of the rows
    :param distinct: None: it adds over any keys and windows
    """

    name: str
    sql: str
    doc: str
    unit: Unit = Unit.COUNT
    combination: Combination = Combination.SUM
    # It decides what may be asked of a figure, not what the figure is: no part of the definition's digest.
    distinct: Distinct | None = field(default=None, repr=False)

    @property
    def is_money(self) -> bool:
        return self.unit is Unit.CENTS

    @property
    def arrow(self) -> pa.DataType:
        return _ARROW_TYPES[self.unit]


@dataclass(frozen=True)
class View:
    """A materialized view: for each key and window, the measures.

    :param name: table ``silver/<name>`` and topic ``vues-<name>``
    :param clock: the source's timestamp column that places a row in its window
    :raises ValueError: if its sums cannot be kept where it says
    """

    name: str
    source: Source
    key: tuple[Dimension, ...]
    window: Window
    measures: tuple[Measure, ...]
    doc: str
    clock: str = "timestamp"
    kept: Kept = Kept.IN_WINDOWS

    def __post_init__(self) -> None:
        expressions = [*(each.sql for each in self.key), *(each.sql for each in self.measures)]
        if self.kept is Kept.IN_WINDOWS and isinstance(self.window, CalendarMonth):
            raise ValueError(f"{self.name}: Quix Streams has no windows of a month; keep it {Kept.IN_SILVER!r}.")
        if self.kept is Kept.IN_SILVER and (
            self.source is not Source.SALES or any("nouveau_client" in expression for expression in expressions)
        ):
            raise ValueError(f"{self.name}: what is kept {Kept.IN_SILVER!r} sums the fields of sales alone.")

    @property
    def count_name(self) -> str | None:
        """The measure that has one for each row of the source; None where it has none."""
        return next((measure.name for measure in self.measures if measure.sql == _COUNTS[self.source]), None)

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(dimension.name for dimension in self.key)

    @property
    def is_personal(self) -> bool:
        """Its rows are of single persons."""
        return any(dimension.is_personal for dimension in self.key)

    @property
    def start_ms_sql(self) -> str:
        """SQL for the start of a row's window, in milliseconds."""
        return self.window.start_ms_sql(self.clock)

    @property
    def measure_names(self) -> tuple[str, ...]:
        return tuple(measure.name for measure in self.measures)

    @property
    def money_names(self) -> frozenset[str]:
        """The measures that are amounts."""
        return frozenset(measure.name for measure in self.measures if measure.is_money)

    def combined(self, held: Sequence[int], gained: Sequence[int]) -> list[int]:
        """The measures of two parts of a window's rows together."""
        return [measure.combination.of(*pair) for measure, *pair in zip(self.measures, held, gained, strict=True)]

    def sums_sql(self, relation: str, more: str = "") -> str:
        """The query of the sums of each key and window: the key, ``start_ms`` of the window, the measures.

        :param relation: with the columns of the source
        :param more: one more aggregate, named
        """
        keys = [f'{dimension.sql} AS "{dimension.name}"' for dimension in self.key]
        sums = [f'({measure.sql})::HUGEINT AS "{measure.name}"' for measure in self.measures]
        groups = ", ".join(str(place + 1) for place in range(len(keys) + 1))
        columns = [*keys, f"{self.start_ms_sql} AS start_ms", *sums, *([more] if more else [])]
        return f"SELECT {', '.join(columns)} FROM {relation} GROUP BY {groups}"

    def rows_sql(self, relation: str, more: str = "") -> str:
        """The query that computes the view's rows: every column of its table, amounts in cents.

        :param relation: with the columns of the source
        :param more: one more aggregate, named
        """
        start = "make_timestamp(start_ms * 1000)"
        window = f"{start}::DATE" if pa.types.is_date32(self.window.arrow) else f"timezone('UTC', {start})"
        moments = [measure.name for measure in self.measures if measure.unit is Unit.MOMENT_US]
        replaced = ", ".join(f'timezone(\'UTC\', make_timestamp("{name}"::BIGINT)) AS "{name}"' for name in moments)
        return (
            f"SELECT * EXCLUDE (start_ms){f' REPLACE ({replaced})' if moments else ''}, "
            f"{window} AS {self.window.column}, "
            f"year({start})::INTEGER AS annee, month({start})::INTEGER AS mois FROM ({self.sums_sql(relation, more)})"
        )

    @property
    def schema(self) -> pa.Schema:
        """Key, window, measures, then the partition columns: the year and month of the window's start."""
        return pa.schema(
            [pa.field(dimension.name, dimension.arrow) for dimension in self.key]
            + [pa.field(self.window.column, self.window.arrow)]
            + [pa.field(measure.name, measure.arrow) for measure in self.measures]
            + [pa.field("annee", pa.int32()), pa.field("mois", pa.int32())]
        )


@dataclass(frozen=True)
class Figure:
    """A column of a roll-up.

    :param sql: an aggregate over the view's measures
    :param is_money: it gives cents; the column is the amount
    """

    name: str
    sql: str
    arrow: pa.DataType
    is_money: bool = False
    doc: str = field(default="", repr=False)


@dataclass(frozen=True)
class RollUp:
    """A table computed from a view each time the view changes.

    :param group: columns of the view that remain
    :param view: one that is kept in windows
    :param columns: figures over the rows of a group
    :param partitioned: by year and month, as the view is: only changed months are written again
    :raises ValueError: if the view is kept elsewhere
    """

    name: str
    view: View
    group: tuple[str, ...]
    columns: tuple[Figure, ...]
    partitioned: bool
    doc: str

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(figure.name for figure in self.columns)

    @property
    def money_names(self) -> frozenset[str]:
        """The figures that are amounts."""
        return frozenset(figure.name for figure in self.columns if figure.is_money)

    def __post_init__(self) -> None:
        if self.view.kept is not Kept.IN_WINDOWS:
            raise ValueError(f"{self.name}: {self.view.name} is not held in memory, so nothing is computed from it.")

    def rows_sql(self, relation: str, more: str = "") -> str:
        """The query that computes the roll-up's rows: every column of its table, amounts in cents.

        :param relation: with the columns of the view
        :param more: one more aggregate, named
        """
        figures = [
            f'({figure.sql}){"" if pa.types.is_floating(figure.arrow) else "::HUGEINT"} AS "{figure.name}"'
            for figure in self.columns
        ]
        group = ", ".join(f'"{name}"' for name in self.group)
        return f"SELECT {', '.join([group, *figures, *([more] if more else [])])} FROM {relation} GROUP BY {group}"

    @property
    def schema(self) -> pa.Schema:
        types = {field.name: field.type for field in self.view.schema}
        return pa.schema(
            [pa.field(name, types[name]) for name in self.group]
            + [pa.field(figure.name, figure.arrow) for figure in self.columns]
        )


def _text(name: str, doc: str, example: str) -> Dimension:
    return Dimension(name, f"coalesce({name}, '{event.INCONNU}')", pa.string(), doc, example)


PRODUIT = _text("produit_nom", "product", "Ordinateur portable")
CATEGORIE = _text("categorie", "product line", "Electronique")
PAYS = _text("pays", "country", "France")
SEGMENT = _text("segment", "customer segment", "Entreprise")
CLIENT = Dimension("client_id", "client_id", pa.int64(), "customer", "3", is_personal=True)
MOTIF = Dimension("motif", "motif", pa.string(), "outcome of the message", event.VALIDE)

VENTES_COUNT = Measure("ventes_count", "count(*)", "sales")
REVENUE_TOTAL = Measure("revenue_total", "sum(montant_cents)", "sum of montant", Unit.CENTS)
QUANTITE_TOTALE = Measure("quantite_totale", "sum(quantite)", "sum of quantite", Unit.QUANTITY)
NOUVEAUX_CLIENTS = Measure(
    "nouveaux_clients",
    "sum(nouveau_client)",
    "clients whose first sale of the month in this product, category and country it is: adds up to distinct clients",
    distinct=Distinct(("produit_nom", "categorie", "pays"), "month"),
)
PREMIERE_VENTE = Measure(
    "premiere_vente", "min(epoch_us(timestamp))", "the first sale's timestamp", Unit.MOMENT_US, Combination.LEAST
)
DERNIERE_VENTE = Measure(
    "derniere_vente", "max(epoch_us(timestamp))", "the last sale's timestamp", Unit.MOMENT_US, Combination.MOST
)
_SALES = (VENTES_COUNT, REVENUE_TOTAL, QUANTITE_TOTALE)

HOURLY_SALES = View("hourly_sales", Source.SALES, (), HOUR, _SALES, "sales by hour")
VENTES_PAR_PAYS = View("ventes_par_pays", Source.SALES, (PAYS,), HOUR, _SALES, "sales by country and hour")
VENTES_PAR_PRODUIT = View(
    "ventes_par_produit", Source.SALES, (PRODUIT, CATEGORIE), DAY, _SALES, "sales by product and day"
)
VENTES_PAR_SEGMENT = View(
    "ventes_par_segment", Source.SALES, (SEGMENT, PAYS), DAY, _SALES, "sales by customer segment, country and day"
)
VENTES_PRODUIT_PAYS = View(
    "ventes_produit_pays",
    Source.SALES,
    (PRODUIT, CATEGORIE, PAYS),
    DAY,
    (*_SALES, NOUVEAUX_CLIENTS),
    "sales by product, country and day, with the new clients of the month",
)
VENTES_PAR_CLIENT = View(
    "ventes_par_client",
    Source.SALES,
    (CLIENT,),
    MONTH,
    (*_SALES, PREMIERE_VENTE, DERNIERE_VENTE),
    "sales by customer and month, with the first and the last of them",
    kept=Kept.IN_SILVER,
)
QUALITE = View(
    "qualite",
    Source.MESSAGES,
    (MOTIF,),
    HOUR,
    (
        Measure("messages", "sum(messages)", "messages (positions, for `perdu`)"),
        Measure(
            "montants_arrondis", "sum(montant_arrondi)", "amounts with more than two decimals, rounded to the cent"
        ),
        *(
            Measure(f"nuls_{name}", f"sum(nul_{name})", f"messages whose {name} is missing or could not be read")
            for name in event.FIELD_NAMES
        ),
    ),
    "outcome of messages by hour of their Kafka timestamp",
    clock="kafka_timestamp",
)

VIEWS: tuple[View, ...] = (
    HOURLY_SALES,
    VENTES_PAR_PAYS,
    VENTES_PAR_PRODUIT,
    VENTES_PAR_SEGMENT,
    VENTES_PRODUIT_PAYS,
    VENTES_PAR_CLIENT,
    QUALITE,
)


def kept(where: Kept) -> tuple[View, ...]:
    """The views whose sums are kept there."""
    return tuple(view for view in VIEWS if view.kept is where)


TOP_PRODUITS = RollUp(
    "top_produits",
    VENTES_PAR_PRODUIT,
    ("produit_nom", "categorie"),
    (
        Figure("ventes_count", "sum(ventes_count)", pa.int64(), doc="sales"),
        Figure("revenue_total", "sum(revenue_total)", money.SUM_ARROW, is_money=True, doc="sum of montant"),
        Figure(
            "quantite_moyenne",
            "sum(quantite_totale) / sum(ventes_count)",
            pa.float64(),
            doc="mean quantite of a sale",
        ),
    ),
    partitioned=False,
    doc="products by revenue, over all time",
)
VENTES_AGGREGES = RollUp(
    "ventes_aggreges",
    VENTES_PRODUIT_PAYS,
    ("produit_nom", "categorie", "pays", "annee", "mois"),
    (
        Figure("nombre_ventes", "sum(ventes_count)", pa.int64(), doc="sales"),
        Figure("chiffre_affaires", "sum(revenue_total)", money.SUM_ARROW, is_money=True, doc="sum of montant"),
        Figure(
            "panier_moyen",
            money.mean_cents_sql("sum(revenue_total)", "sum(ventes_count)"),
            money.DECIMAL_ARROW,
            is_money=True,
            doc="mean montant of a sale, rounded to the cent",
        ),
        Figure("clients_uniques", "sum(nouveaux_clients)", pa.int64(), doc="distinct clients"),
    ),
    partitioned=True,
    doc="sales by product, country and month",
)

ROLL_UPS: tuple[RollUp, ...] = (TOP_PRODUITS, VENTES_AGGREGES)
