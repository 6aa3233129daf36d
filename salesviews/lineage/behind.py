"""The sales behind a figure, and the messages that were left out of it, as tables of a ``Queries``.

- ``behind``: ``sequence``, ``number`` and ``offset`` of the sales that the figure sums
- ``ventes``: the same rows, with the columns that a view's expressions read (``views.Source.SALES``)
- ``left_out``: the messages that somebody would look for in the figure, and that do not count in it

A sale is looked for in ``ventes_clean``, by month; a raw message in Bronze, by day; so that a window is few files.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from salesviews import classification, event, lake, money, views
from salesviews.audit.differences import name
from salesviews.lineage import figures
from salesviews.lineage.figures import Address
from salesviews.lineage.queries import Queries

_FIELDS = ", ".join(name(each) for each in event.FIELD_NAMES)
_CENTS = f"{money.cents_sql('montant')} AS montant_cents"
OF_SOURCE = 'JOIN sources AS s USING (topic_id, "partition")'
_NEW_CLIENT = "nouveau_client"
_NEW_TO = views.VENTES_PRODUIT_PAYS.key
"""What a client is new to, beside the month."""


def of_sales(queries: Queries, address: Address) -> None:
    """Make ``ventes`` and ``behind`` of the sales that count."""
    address.ask(queries)
    view = address.of.view
    if asks_for_new_clients(view):
        same_group = [
            address.conditions[each.name] for each in _NEW_TO if each in view.key and each.name in address.key
        ]
        _make_firsts(queries, address.times, same_group)
    _make_sales(queries, address.times, address.conditions.values(), has_firsts=asks_for_new_clients(view))
    queries.run('CREATE OR REPLACE TEMP TABLE behind AS SELECT sequence, number, "offset" FROM ventes')


def of_places(queries: Queries, sequences: Iterable[int]) -> None:
    """Make ``ventes`` of the sales at some places in the total order, as much of it as keys are made of."""
    keys = [dimension.sql for view in views.VIEWS if view.source is views.Source.SALES for dimension in view.key]
    has_firsts = mentions(keys, _NEW_CLIENT)
    if has_firsts:
        _make_firsts(queries, None, [])
    _make_sales(queries, None, [f"sequence IN ({', '.join(map(str, sequences)) or 'NULL'})"], has_firsts=has_firsts)


def asks_for_new_clients(view: views.View) -> bool:
    """Whether its key or measures are made of ``nouveau_client``: SQL that uses a column has its name in it."""
    return mentions(expressions(view), _NEW_CLIENT)


def counted_sql(queries: Queries, times: tuple[datetime, datetime] | None) -> str:
    """The query of the snapshot's sales of some time."""
    months = None if times is None else figures.months(*times)
    clean = queries.relation(lake.CLEAN, lambda partition: months is None or partition in months)
    return (
        f'SELECT sequence, s.number, "offset", {_FIELDS}, {_CENTS} FROM {clean} {OF_SOURCE} '
        f"WHERE sequence <= {queries.snapshot.sequence} AND {between('timestamp', times)}"
    )


def find_left_out(queries: Queries, address: Address) -> None:
    """Make ``fallen`` and ``left_out``, after ``of_sales``.

    ``fallen`` are the messages in Bronze that fall into the figure by their own fields, whether they count or not.
    Left out are those of them that do not count, and all duplicates of the sales behind the figure.

    Fields that are missing in a message or could not be read count as ``inconnu``, as they do in a sale that counts.
    Where the figure has a window or a month, a timestamp that is missing, unreadable or out of bounds falls nowhere: so
    tombstones, what is no JSON, ``timestamp_absent`` and ``timestamp_hors_bornes`` are left out of no such figure.
    """
    times = address.times
    is_timed = address.start is not None or bool({"annee", "mois"} & address.key.keys())
    bronze = queries.relation(lake.BRONZE, lambda partition: times is None or _has_day(times, partition[0]))
    in_bounds = classification.in_bounds_sql('"timestamp"', "epoch_us(kafka_timestamp)")
    queries.run(
        f'CREATE OR REPLACE TEMP TABLE fallen AS SELECT number, "offset", "timestamp"::DATE AS day FROM ('
        f'SELECT s.number, "offset", {_FIELDS}, {_CENTS}, 0 AS {_NEW_CLIENT} FROM {bronze} {OF_SOURCE} '
        f"WHERE {between('timestamp', times)} AND {in_bounds if is_timed else 'true'}) "
        f"WHERE {all_of(address.conditions.values())}"
    )
    queries.run(
        "CREATE OR REPLACE TEMP TABLE left_out AS SELECT * FROM (SELECT *, EXISTS (FROM behind AS b "
        'WHERE b.number = r.compte_number AND b."offset" = r.compte_offset) AS is_double_of_it, '
        'EXISTS (FROM fallen AS f WHERE f.number = r.number AND f."offset" = r."offset") AS falls '
        f"FROM ({rejected_sql(queries)}) AS r) WHERE is_double_of_it OR falls"
    )


def rejected_sql(queries: Queries, condition: str = "true") -> str:
    """The query of the snapshot's messages that do not count."""
    return (
        'SELECT r.sequence, s.number, r."offset", r.motif, r.vente_id, r.kafka_timestamp, '
        "c.number AS compte_number, r.compte_offset "
        f'FROM {queries.relation(lake.REJECTED)} AS r JOIN sources AS s USING (topic_id, "partition") '
        'LEFT JOIN sources AS c ON c.topic_id = r.compte_topic_id AND c."partition" = r.compte_partition '
        f"WHERE r.sequence <= {queries.snapshot.sequence} AND {condition}"
    )


def sales_without_raw(queries: Queries) -> int:
    """How many of the sales behind the figure Bronze lacks, after ``find_left_out``."""
    lacking = 'FROM behind ANTI JOIN fallen USING (number, "offset")'
    if not queries.value(f"SELECT count(*) {lacking}"):
        return 0
    # Bronze may have the message under other fields: it keeps those that a program before this one read.
    return int(
        queries.value(
            f'SELECT count(*) FROM (SELECT * {lacking}) ANTI JOIN ({bronze_sql(queries)}) USING (number, "offset")'
        )
    )


def _make_sales(
    queries: Queries, times: tuple[datetime, datetime] | None, conditions: Iterable[str], *, has_firsts: bool
) -> None:
    new_client = "(sequence IN (SELECT sequence FROM firsts))::BIGINT" if has_firsts else "0"
    queries.run(
        f"CREATE OR REPLACE TEMP VIEW {views.Source.SALES} AS SELECT * FROM (SELECT *, {new_client} AS {_NEW_CLIENT} "
        f"FROM ({counted_sql(queries, times)})) WHERE {all_of(conditions)}"
    )


def _make_firsts(queries: Queries, times: tuple[datetime, datetime] | None, same_group: Iterable[str]) -> None:
    """The sales that are the first of their client in a month, product, category and country."""
    if times is not None:
        first, last = times[0], times[1] - timedelta(microseconds=1)
        times = _month(first), _month(_month(last) + timedelta(days=31))
    group = ", ".join(each.sql for each in _NEW_TO)
    queries.run(
        f"CREATE OR REPLACE TEMP TABLE firsts AS SELECT min(sequence) AS sequence FROM ({counted_sql(queries, times)}) "
        f'WHERE {all_of(same_group)} GROUP BY year("timestamp"), month("timestamp"), client_id, {group}'
    )


def bronze_sql(queries: Queries) -> str:
    """The query of all places of which Bronze has a message."""
    return f'SELECT s.number, "offset" FROM {queries.relation(lake.BRONZE)} {OF_SOURCE}'


def expressions(view: views.View) -> list[str]:
    """The SQL that a view's columns are made of."""
    return [*(measure.sql for measure in view.measures), *(dimension.sql for dimension in view.key)]


def mentions(expressions: Iterable[str], *columns: str) -> bool:
    """Whether a column's name, or what it begins with, is in some SQL."""
    return any(column in expression.casefold() for expression in expressions for column in columns)


def all_of(conditions: Iterable[str]) -> str:
    """One condition for all."""
    return " AND ".join(f"({each})" for each in conditions) or "true"


def between(column: str, times: tuple[datetime, datetime] | None) -> str:
    """A condition that DuckDB compares with the statistics of the files."""
    if times is None:
        return "true"
    return f"{column} >= {_instant(times[0])} AND {column} < {_instant(times[1])}"


def _instant(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).isoformat()}'"


def _has_day(times: tuple[datetime, datetime], day: date) -> bool:
    return times[0].date() <= day <= (times[1] - timedelta(microseconds=1)).date()


def _month(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)
