"""Customers: what each is worth, who comes back, and the sales of one.

All of it shows single persons, but for the counts by month.
"""

from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import lake, money, views
from salesviews.lineage.queries import Queries
from web import grouping, parameters, periods, reading
from web.endpoints import Column, Endpoint
from web.grouping import AMOUNT, FROM, LIMIT, OFFSET, PANIER_MOYEN, TO, Grouping
from web.parameters import Parameter
from web.reading import LakeReader
from web.rows import Page, Query, Rows
from web.snapshot import Snapshot

_VIEW = views.VENTES_PAR_CLIENT
_CLIENT = views.CLIENT.name
_ONE = Parameter(_CLIENT, parameters.integer, "the customer", example=3, is_required=True)
_FIGURES = (*map(grouping.measure_column, _VIEW.measures), PANIER_MOYEN.column)
_CUSTOMER = (grouping.key_column(views.CLIENT), *_FIGURES)
assert periods.MONTH.column is not None
_MONTH = periods.MONTH.column

CUSTOMERS = Endpoint(
    "/api/customers",
    "customers by lifetime value, with their first and last purchase and average basket",
    parameters=(
        grouping.key_parameter(views.CLIENT),
        FROM,
        TO,
        grouping.order_parameter(_CUSTOMER),
        LIMIT,
        OFFSET,
    ),
    columns=_CUSTOMER,
    about=grouping.ABOUT,
    doc=(
        "Default: over all time, the largest revenue first. With from and to, which are starts of months, it is what "
        "each bought in between, the first and last purchase too."
    ),
    is_personal=True,
)
MONTHS = Endpoint(
    "/api/customers/months",
    "one customer, month by month",
    parameters=(_ONE, FROM, TO),
    columns=(_MONTH, *_FIGURES),
    about=grouping.ABOUT,
    doc="Only months in which there are sales.",
    is_personal=True,
)
SALES = Endpoint(
    "/api/customers/sales",
    "the single sales of one customer, the latest first",
    parameters=(_ONE, LIMIT, OFFSET),
    columns=(
        Column("vente_id", pa.int64(), "the sale: `/api/lineage?vente_id=` tells its story"),
        Column("timestamp", pa.timestamp("us", tz="UTC"), "when it was (UTC)"),
        Column("produit_nom", pa.string(), "product", is_nullable=True),
        Column("categorie", pa.string(), "product line", is_nullable=True),
        Column("quantite", pa.int64(), "how many", "quantity"),
        Column("montant", money.DECIMAL_ARROW, "amount of the sale", AMOUNT),
        Column("pays", pa.string(), "country", is_nullable=True),
        Column("segment", pa.string(), "customer segment", is_nullable=True),
    ),
    about=reading.ABOUT,
    doc="Read from the single sales of the months in which the customer bought, within limits of time and memory.",
    is_personal=True,
)
RETURNING = Endpoint(
    "/api/customers/returning",
    "new and returning customers by month",
    parameters=(FROM, TO),
    columns=(
        _MONTH,
        Column("clients", pa.int64(), "customers that bought", "count"),
        Column("nouveaux", pa.int64(), "of them, those whose first month it is", "count"),
        Column("fideles", pa.int64(), "of them, those that bought in a month before", "count"),
        Column("revenue_nouveaux", money.SUM_ARROW, "sum of montant of the new ones", AMOUNT),
        Column("revenue_fideles", money.SUM_ARROW, "sum of montant of the returning ones", AMOUNT),
    ),
    doc="Every month from the first with sales to the last. The last one may not be over.",
)

_RETURNING_SQL = """
    WITH mois AS (
        SELECT unnest(generate_series(min(debut_mois), max(debut_mois), INTERVAL 1 MONTH))::DATE AS debut_mois
        FROM ventes_par_client
    ),
    premiers AS (SELECT client_id, min(debut_mois) AS premier_mois FROM ventes_par_client GROUP BY client_id),
    clients AS (
        SELECT debut_mois, count(*) AS clients,
               count(*) FILTER (debut_mois = premier_mois) AS nouveaux,
               sum(revenue_total) AS revenue,
               coalesce(sum(revenue_total) FILTER (debut_mois = premier_mois), 0) AS revenue_nouveaux
        FROM ventes_par_client JOIN premiers USING (client_id) GROUP BY debut_mois
    )
    SELECT debut_mois, coalesce(clients, 0) AS clients, coalesce(nouveaux, 0) AS nouveaux,
           coalesce(clients - nouveaux, 0) AS fideles,
           coalesce(revenue_nouveaux, 0)::DECIMAL(38,2) AS revenue_nouveaux,
           coalesce(revenue - revenue_nouveaux, 0)::DECIMAL(38,2) AS revenue_fideles
    FROM mois LEFT JOIN clients USING (debut_mois) {where}
"""


def routes(rows: Rows, reader: LakeReader) -> Blueprint:
    blueprint = Blueprint("customers", __name__)

    @rows.get(blueprint, CUSTOMERS)
    def customers(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        asked = Grouping((_CLIENT,), periods.ALL, grouping.filters(values, (views.CLIENT,)), *grouping.bounds(values))
        order = values["order"] or ("-revenue_total",)
        return asked.query(_VIEW, order, Page(values["limit"], values["offset"]), (PANIER_MOYEN,))

    @rows.get(blueprint, MONTHS)
    def months(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        asked = Grouping((), periods.MONTH, {_CLIENT: (values[_CLIENT],)}, *grouping.bounds(values))
        return asked.query(_VIEW, means=(PANIER_MOYEN,))

    @rows.get(blueprint, SALES)
    def sales(values: dict[str, Any], snapshot: Snapshot) -> Query:
        client = values[_CLIENT]
        in_months = set(snapshot.query(f"SELECT annee, mois FROM {_VIEW.name} WHERE client_id = $1", [client]))
        columns = ", ".join(column.name for column in SALES.columns)

        def read(queries: Queries) -> pa.Table:
            clean = queries.relation(lake.CLEAN, in_months.__contains__)
            covered = f"sequence <= {queries.snapshot.sequence}"
            return queries.table(f"SELECT {columns} FROM {clean} WHERE client_id = $1 AND {covered}", [client])

        return Query(
            "FROM ventes_du_client",
            "timestamp DESC, vente_id",
            page=Page(values["limit"], values["offset"]),
            tables={"ventes_du_client": reader.table(snapshot.manifest, read)},
            depends_on=client,
        )

    @rows.get(blueprint, RETURNING)
    def returning(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        conditions, given = periods.within(grouping.bounds(values), "debut_mois")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return Query(_RETURNING_SQL.format(where=where), "debut_mois", given)

    return blueprint
