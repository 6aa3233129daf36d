"""Whether every table of a lake says what plain SQL on the sales says, to the cent and to the client.

It knows the lake as any reader does: the manifest names the version of each table, a table its files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from sales import Sales

_SUMS = "count(*) AS ventes_count, sum(montant) AS revenue_total, sum(quantite) AS quantite_totale"
_PRODUCT = "coalesce(produit_nom, 'inconnu') AS produit_nom, coalesce(categorie, 'inconnu') AS categorie"
_COUNTRY = "coalesce(pays, 'inconnu') AS pays"
_SEGMENT = "coalesce(segment, 'inconnu') AS segment"
_HOUR = "date_trunc('hour', timestamp) AS heure"
_DAY = "timestamp::DATE AS jour"
_CENTS = "sum((montant * 100)::HUGEINT)"

WANTED: dict[str, str] = {
    "ventes_clean": "SELECT vente_id, client_id, produit_id, timestamp, quantite, montant, client_nom, produit_nom, "
    "categorie, pays, segment, year(timestamp) AS annee, month(timestamp) AS mois, day(timestamp) AS jour, "
    "hour(timestamp) AS heure FROM ventes",
    "hourly_sales": f"SELECT {_HOUR}, {_SUMS} FROM ventes GROUP BY ALL",
    "ventes_par_pays": f"SELECT {_COUNTRY}, {_HOUR}, {_SUMS} FROM ventes GROUP BY ALL",
    "ventes_par_produit": f"SELECT {_PRODUCT}, {_DAY}, {_SUMS} FROM ventes GROUP BY ALL",
    "ventes_par_segment": f"SELECT {_SEGMENT}, {_COUNTRY}, {_DAY}, {_SUMS} FROM ventes GROUP BY ALL",
    "ventes_produit_pays": f"SELECT {_PRODUCT}, {_COUNTRY}, {_DAY}, {_SUMS} FROM ventes GROUP BY ALL",
    "ventes_par_client": "SELECT client_id, date_trunc('month', timestamp)::DATE AS debut_mois, "
    f"{_SUMS}, min(timestamp) AS premiere_vente, max(timestamp) AS derniere_vente FROM ventes GROUP BY ALL",
    "top_produits": f"SELECT {_PRODUCT}, count(*) AS ventes_count, sum(montant) AS revenue_total, "
    "sum(quantite) / count(*) AS quantite_moyenne FROM ventes GROUP BY ALL",
    # Half a cent goes up.
    "ventes_aggreges": f"SELECT {_PRODUCT}, {_COUNTRY}, year(timestamp) AS annee, month(timestamp) AS mois, "
    "count(*) AS nombre_ventes, sum(montant) AS chiffre_affaires, "
    f"(2 * {_CENTS} + count(*)) // (2 * count(*)) * 0.01::DECIMAL(3, 2) AS panier_moyen, "
    "count(DISTINCT client_id) AS clients_uniques FROM ventes GROUP BY ALL",
}
"""For each table what its rows must be; the columns are those that are compared. A table's moments are in UTC."""


@dataclass(frozen=True)
class Difference:
    table: str
    missing: int
    surplus: int

    def __str__(self) -> str:
        return f"{self.table}: {self.missing:,} rows are not there, {self.surplus:,} are wrong"


def manifest(lake: Path) -> dict[str, Any] | None:
    """The row of the newest snapshot; None before the first."""
    folder = lake / "silver" / "snapshots"
    if not (folder / "_delta_log").exists():
        return None
    uris = DeltaTable(folder).file_uris()
    if not uris:
        return None
    found = duckdb.execute(
        "SELECT id, sequence, positions, tables FROM read_parquet($1) ORDER BY id DESC LIMIT 1", [uris]
    )
    names = [name for name, *_ in found.description]
    return dict(zip(names, found.fetchall()[0], strict=True))


def covered(lake: Path) -> int:
    """Messages that the newest snapshot covers."""
    found = manifest(lake)
    return sum(position["offset"] for position in found["positions"]) if found else 0


def differences(lake: Path, sales: Sales) -> list[Difference]:
    """Where the newest snapshot and the sales disagree."""
    found = manifest(lake)
    if found is None:
        return [Difference("snapshots", 1, 0)]
    versions = {entry["table"]: entry["version"] for entry in found["tables"]}
    database = sales.database
    results = []
    for name, wanted in WANTED.items():
        uris = DeltaTable(lake / "silver" / name, version=versions[f"silver/{name}"]).file_uris()
        if not uris:
            results.append(Difference(name, sales.end, 0))
            continue
        database.execute(f"CREATE OR REPLACE TEMP VIEW wanted AS {wanted}")
        columns = database.execute("DESCRIBE wanted").fetchall()
        read = ", ".join(
            f"timezone('UTC', {column}) AS {column}" if kind == "TIMESTAMP" else column for column, kind, *_ in columns
        )
        rows = f"read_parquet({[*uris]}, hive_partitioning = true)"
        kept = "ventes_count > 0" if name == "hourly_sales" else "true"
        kept += f" AND sequence <= {found['sequence']}" if name == "ventes_clean" else ""
        database.execute(f"CREATE OR REPLACE TEMP VIEW found AS SELECT {read} FROM {rows} WHERE {kept}")
        results.append(Difference(name, _count(database, "wanted", "found"), _count(database, "found", "wanted")))
    results.append(_of_quality(lake, versions["silver/qualite"], sales))
    return [each for each in results if each.missing or each.surplus]


def _count(database: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    """Rows of one that the other does not have."""
    [(rows,)] = database.execute(
        f"SELECT count(*) FROM (SELECT * FROM {left} EXCEPT ALL SELECT * FROM {right})"
    ).fetchall()
    return int(rows)


def _of_quality(lake: Path, version: int, sales: Sales) -> Difference:
    uris = DeltaTable(lake / "silver" / "qualite", version=version).file_uris()
    query = "SELECT motif, sum(messages)::BIGINT FROM read_parquet($1) GROUP BY ALL"
    found = set(duckdb.execute(query, [uris]).fetchall()) if uris else set()
    wanted = set(sales.outcomes.items()) if sales.end else set()
    return Difference("qualite", len(wanted - found), len(found - wanted))
