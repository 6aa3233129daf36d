"""Sales to measure with, each input a row of ``INPUTS``: made here from a seed, or data that no one here made.

An input fills the table ``made`` of a DuckDB database (``sales.COLUMNS``). Dates before 2000, which no sale may have,
are moved by whole years.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

LINES_A_SCALE = 6_001_215
"""Lines of TPC-H at scale factor 1."""

Make = Callable[[duckdb.DuckDBPyConnection, int, int, datetime], None]
"""Fills ``made``: about so many sales, by a seed, the last of them at a moment."""


@dataclass(frozen=True)
class Input:
    """
    :param sales: how many there are by default
    :param before: sales that are counted already when these come
    """

    sales: int
    make: Make
    doc: str
    before: "Input | None" = None


@dataclass(frozen=True)
class Catalogue:
    """Sales of random products to random clients.

    :param skew: 1: all products and countries sell alike; 2: few of them sell most
    :param in_order: they come in order of their time, but for one in a hundred, which is up to three days late
    """

    products: int
    countries: int
    clients: int
    days: float
    skew: float = 2.0
    in_order: bool = True

    def __call__(self, database: duckdb.DuckDBPyConnection, sales: int, seed: int, until: datetime) -> None:
        random = np.random.default_rng(seed)
        places = np.arange(sales)
        product = (random.random(sales) ** self.skew * self.products).astype(np.int64)
        quantity = random.integers(1, 6, sales)
        age = random.random(sales) if not self.in_order else (sales - places) / sales
        late = (random.random(sales) < 0.01) * random.random(sales) * 3 * self.in_order
        drawn = pa.table(  # noqa: F841 - read by the query
            {
                "place": places,
                "client": random.integers(1, self.clients + 1, sales),
                "product": product,
                "country": (random.random(sales) ** self.skew * self.countries).astype(np.int64),
                "us": int(until.timestamp() * 1e6) - ((age * self.days + late) * 86400e6).astype(np.int64),
                "quantity": quantity,
                "cents": quantity * random.integers(500, 150_000, self.products)[product],
            }
        )
        database.execute(
            """
            INSERT INTO made
            SELECT place, place + 1, client, 100 + product, make_timestamp(us), quantity, cents * 0.01::DECIMAL(3, 2),
                'Client numero ' || client, 'Produit ' || product || ' de la gamme ' || product % 8,
                ['Electronique', 'Mode', 'Maison', 'Sport', 'Livre', 'Jardin'][product % 6 + 1], 'Pays ' || country,
                ['Particulier', 'Entreprise', 'Premium'][client % 3 + 1]
            FROM drawn
            """
        )


@dataclass(frozen=True)
class Tpch:
    """Lines of TPC-H's orders: seven years, of 2016 to 2022 here.

    :param order: SQL by which they come
    """

    order: str

    def __call__(self, database: duckdb.DuckDBPyConnection, sales: int, seed: int, until: datetime) -> None:  # noqa: ARG002
        with tempfile.TemporaryDirectory(prefix="salesviews-tpch-") as folder:
            tables = ("lineitem", "orders", "customer", "part", "nation")
            command = [Path(sys.executable).parent / "tpchgen-cli", "parquet", "--scale-factor"]
            command += [f"{sales / LINES_A_SCALE:.4f}", "--output-dir", folder, "--tables", ",".join(tables), "--quiet"]
            subprocess.run(command, check=True)
            read = {name: f"read_parquet('{folder}/{name}.parquet')" for name in tables}
            database.execute(
                f"""
                INSERT INTO made
                SELECT row_number() OVER (ORDER BY {self.order}) - 1, l_orderkey * 8 + l_linenumber, o_custkey,
                    l_partkey, (o_orderdate + INTERVAL 24 YEAR)::TIMESTAMP, l_quantity::BIGINT,
                    l_extendedprice::DECIMAL(18, 2), c_name, p_name, p_type, n_name, c_mktsegment
                FROM {read["lineitem"]} JOIN {read["orders"]} ON l_orderkey = o_orderkey
                JOIN {read["customer"]} ON o_custkey = c_custkey JOIN {read["part"]} ON l_partkey = p_partkey
                JOIN {read["nation"]} ON c_nationkey = n_nationkey
                """
            )


def cdnow(database: duckdb.DuckDBPyConnection, sales: int, seed: int, until: datetime) -> None:  # noqa: ARG001
    """What customers of a shop for CDs bought in 18 months of 1997 and 1998, of 2017 and 2018 here. No products."""
    file = metadata.distribution("lifetimes").locate_file("lifetimes/datasets/CDNOW_master.txt")  # its code is not run
    database.execute(
        f"""
        INSERT INTO made
        SELECT place, place + 1, field[1]::BIGINT, NULL,
            strptime(field[2], '%Y%m%d') + INTERVAL 20 YEAR, field[3]::BIGINT, field[4]::DECIMAL(18, 2),
            NULL, NULL, NULL, NULL, NULL
        FROM (
            SELECT regexp_split_to_array(trim(line), ' +') AS field, row_number() OVER () - 1 AS place
            FROM read_csv('{file}', header = false, skip = 1, delim = '|', quote = '', columns = {{'line': 'VARCHAR'}})
        )
        WHERE place < {sales}
        """
    )


SMALL = Catalogue(products=200, countries=10, clients=50_000, days=1)

INPUTS: dict[str, Input] = {
    "generator": Input(1_000_000, SMALL, "200 products x 10 countries, one day, 50,000 clients"),
    "catalogue": Input(
        3_000_000,
        Catalogue(products=1_000, countries=50, clients=200_000, days=28, skew=1, in_order=False),
        "1,000 products x 50 countries, 28 days in no order, 200,000 clients",
    ),
    "wide": Input(
        300_000,
        Catalogue(products=20_000, countries=200, clients=1_000_000, days=1),
        "20,000 products x 200 countries, one day, 1 million clients",
    ),
    "tpch": Input(1_200_000, Tpch("o_orderdate, l_orderkey, l_linenumber"), "TPC-H, seven years in order"),
    "tpch-shuffled": Input(1_200_000, Tpch("hash(l_orderkey, l_linenumber)"), "TPC-H, seven years in no order"),
    "cdnow": Input(69_659, cdnow, "CDNOW, 18 months, 23,570 clients, no products"),
    "history": Input(
        400_000,
        Catalogue(products=200, countries=10, clients=50_000, days=420),
        "420 days into a running pipeline that has counted a week",
        before=Input(200_000, Catalogue(products=200, countries=10, clients=50_000, days=7), "a week"),
    ),
}
