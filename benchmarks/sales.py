"""The sales of a run, in a DuckDB database of its own: what is sent, and therefore what every table must say."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
from inputs import Input

COLUMNS = """
    place BIGINT, vente_id BIGINT, client_id BIGINT, produit_id BIGINT, timestamp TIMESTAMP, quantite BIGINT,
    montant DECIMAL(18, 2), client_nom VARCHAR, produit_nom VARCHAR, categorie VARCHAR, pays VARCHAR, segment VARCHAR
"""
"""Of ``made`` and ``ventes``: ``place`` counts from 0 in the order of sending, ``timestamp`` is UTC."""

PAYLOAD = """
    to_json({'vente_id': vente_id, 'client_id': client_id, 'produit_id': produit_id,
        'timestamp': strftime(timestamp, '%Y-%m-%dT%H:%M:%S.%f'), 'quantite': quantite, 'montant': montant,
        'client_nom': client_nom, 'produit_nom': produit_nom, 'categorie': categorie, 'pays': pays, 'segment': segment})
"""

_ALIKE = 100_000

Message = tuple[str, str]
"""Key and payload."""


class Sales:
    """
    :param dirty_pct: so many percent of the sales are followed by a message that does not count: by the same again, or
        by one whose ``montant`` is negative
    """

    def __init__(self, file: Path, dirty_pct: float = 0.0) -> None:
        self.database = duckdb.connect(file)
        self.database.execute("SET TimeZone = 'UTC'; SET memory_limit = '4GB'; SET enable_progress_bar = false")
        self.database.execute(f"CREATE TABLE ventes ({COLUMNS})")
        self._is_followed = f"hash(vente_id) % 1_000_000 < {int(dirty_pct * 10_000)}"
        self.end = 0

    def add(self, made: Input, sales: int, seed: int, until: datetime) -> range:
        """Make sales beside those that are there. Gives their places."""
        self.database.execute(f"CREATE OR REPLACE TEMP TABLE made ({COLUMNS})")
        made.make(self.database, sales, seed, until)
        return self._take_over()

    def prepare_live(self, made: Input, seed: int, until: datetime) -> None:
        """Make sales that live ones will be like."""
        self.database.execute(f"CREATE OR REPLACE TEMP TABLE made ({COLUMNS})")
        made.make(self.database, _ALIKE, seed, until)
        self.database.execute(
            "CREATE OR REPLACE TABLE alike AS SELECT * REPLACE (row_number() OVER () - 1 AS place) FROM made"
        )

    def add_live(self, count: int, now: datetime) -> range:
        """Sales of this moment, of products, countries and clients of the input, one after the other."""
        [(size,)] = self.database.execute("SELECT count(*) FROM alike").fetchall()
        self.database.execute(
            "CREATE OR REPLACE TEMP TABLE made AS SELECT alike.* REPLACE (drawn.place AS place, drawn.place + 1 AS "
            "vente_id, make_timestamp($us) AS timestamp) FROM alike JOIN (SELECT range AS place, "
            "(range + $first) * 7919 % $size AS alike FROM range($count)) drawn ON alike.place = drawn.alike",
            {"us": int(now.timestamp() * 1e6), "first": self.end, "size": size, "count": count},
        )
        return self._take_over()

    def forget(self, end: int) -> None:
        """Leave only the places before one."""
        self.database.execute(f"DELETE FROM ventes WHERE place >= {end}")
        self.end = end

    def _take_over(self) -> range:
        start = self.end
        [(largest,)] = self.database.execute("SELECT coalesce(max(vente_id), 0) FROM ventes").fetchall()
        self.database.execute(
            f"INSERT INTO ventes SELECT * REPLACE (place + {start} AS place, vente_id + {largest} AS vente_id) "
            "FROM made"
        )
        self.end = self._count("ventes")
        return range(start, self.end)

    def messages(self, places: range, size: int = 50_000) -> Iterator[list[Message]]:
        """The messages of some sales, in order, some at a time."""
        for start in range(places.start, places.stop, size):
            part = f"ventes WHERE place >= {start} AND place < {min(start + size, places.stop)}"
            follower = (
                f"SELECT * REPLACE (if(vente_id % 2 = 1, montant, -montant - 1) AS montant), 1 AS follows FROM {part}"
            )
            yield self.database.execute(
                f"SELECT client_id::VARCHAR, {PAYLOAD}::VARCHAR FROM (SELECT *, 0 AS follows FROM {part} "
                f"UNION ALL {follower} AND {self._is_followed}) ORDER BY place, follows"
            ).fetchall()

    @property
    def outcomes(self) -> dict[str, int]:
        """Messages by what ``qualite`` must say of them."""
        followers = {
            "doublon": self._count(f"ventes WHERE vente_id % 2 = 1 AND {self._is_followed}"),
            "montant_negatif": self._count(f"ventes WHERE vente_id % 2 = 0 AND {self._is_followed}"),
        }
        return {"valide": self.end} | {motif: number for motif, number in followers.items() if number}

    def _count(self, relation: str) -> int:
        [(number,)] = self.database.execute(f"SELECT count(*) FROM {relation}").fetchall()
        return int(number)
