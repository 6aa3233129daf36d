"""How fast the API answers, and how much faster than asking Bronze.

    python benchmarks/api.py [--rows 50 50000 1000000] [--clients 1 64] [--seconds 3]
    python benchmarks/api.py --bronze HOME/lake

The first makes a lake for each size, the rows of its largest view (``ventes_produit_pays``), serves it with `salesviews
web`, and asks every endpoint with some clients at once, each of which asks again as soon as it is answered; meanwhile a
snapshot that changes a month of every view arrives each second. Times are what a client sees, in milliseconds; `cpu` is
what the server needs for a request, the loading of snapshots included, and hardly depends on what else runs.

The second asks the same questions of a real lake's snapshot and of its Bronze, and gives the ratio: Bronze is read by
DuckDB from the Delta table's files, its rejected messages left out, its duplicates counted once (``deduplicated``) or
not (``naive``, whose figures are too large). Run it on an idle machine.
"""

import argparse
import http.client
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from salesviews import lake, settings, views
from salesviews.lake import Lake, Table
from salesviews.machine import ports
from salesviews.manifest import DataFile, Manifest
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from sinks import overwrites

SHAPES = {50: (5, 2, 5), 50_000: (100, 10, 50), 1_000_000: (500, 20, 100)}
"""Products, countries and days: rows of ``ventes_produit_pays`` are their product."""

TOLERANCE = 0.001
"""Which of two duplicates with other content counts is not in Bronze: it decides a few sales in 10,000."""

LEAST_ANSWERS = 5
"""To each client, however long they take."""

SEGMENTS = 4
ROWS_A_CLIENT = 20
MEMORY = "8GB"
"""What a question to Bronze may take; beyond that it is slower, on disk."""
HOURS = 24

MORE = (
    "/api/aggregated_sales?pays=Pays%201&month=12",
    "/api/views/ventes_par_pays?pays=Pays%201&granularity=day",
    "/api/views/ventes_produit_pays?order=-revenue_total&limit=10",
    "/api/views/ventes_produit_pays?granularity=month",
    "/api/views/ventes_produit_pays?format=csv",
    "/api/views/ventes_produit_pays?format=arrow",
    "/api/sales?pays=Pays%201&group_by=produit_nom&order=-revenue_total&limit=10",
    "/api/sales?pays=Pays%201&granularity=month&group_by=categorie",
    "/api/sales?group_by=pays&granularity=week",
)
"""Questions beside those without parameters to each endpoint that gives rows."""

UNCHANGED = "/api/sales?pays=Pays%201&granularity=month&group_by=categorie"
"""Asked once more with the ETag of its answer, again and again."""


class SyntheticLake:
    """A lake of a given size, to which snapshots can be added."""

    def __init__(self, root: Path, rows: int) -> None:
        self.lake = Lake(str(root))
        self._files: dict[str, tuple[DataFile, ...]] = {}
        products, countries, days = SHAPES[rows]
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        dimensions = {
            "produit_nom": "SELECT 'Produit ' || n AS produit_nom, 'Ligne ' || n % 12 AS categorie "
            f"FROM {_upto(products)}",
            "pays": f"SELECT 'Pays ' || n AS pays FROM {_upto(countries)}",
            "segment": f"SELECT 'Segment ' || n AS segment FROM {_upto(SEGMENTS)}",
            "client_id": f"SELECT n AS client_id FROM {_upto(max(rows // ROWS_A_CLIENT, 1))}",
            "motif": "SELECT unnest(['valide', 'doublon', 'montant_negatif']) AS motif",
            "jour": f"SELECT DATE '2025-12-31' - n::INTEGER AS jour FROM {_upto(days)}",
            "heure": f"SELECT make_timestamptz(2025, 12, 31, 23, 0, 0) - n * INTERVAL 1 HOUR AS heure "
            f"FROM {_upto(days * HOURS)}",
            "debut_mois": "SELECT DISTINCT date_trunc('month', DATE '2025-12-31' - n::INTEGER)::DATE AS debut_mois "
            f"FROM {_upto(days)}",
        }
        for table in (*lake.SILVER, lake.SNAPSHOTS):
            self.lake.create(table)
        for view in views.VIEWS:
            place = ", ".join((*view.key_names, view.window.column))
            sums = ", ".join(
                f"timezone('UTC', {view.window.column}::TIMESTAMP) AS {measure.name}"
                if measure.unit is views.Unit.MOMENT_US
                else f"(1 + hash({place}, {number}) % 1000)::INTEGER AS {measure.name}"
                for number, measure in enumerate(view.measures)
            )
            names = [name for name in (*view.key_names, view.window.column) if name in dimensions]
            joined = " CROSS JOIN ".join(f"({dimensions[name]})" for name in names)
            self._database.execute(
                f"CREATE TABLE {view.name} AS SELECT {place}, {sums}, year({view.window.column})::INTEGER AS annee, "
                f"month({view.window.column})::INTEGER AS mois FROM {joined}"
            )
            self._put(lake.of_view(view), self._rows(f"FROM {view.name}", lake.of_view(view)))
        for roll_up in views.ROLL_UPS:
            rows_sql = roll_up.rows_sql(roll_up.view.name)
            self._put(lake.of_roll_up(roll_up), self._rows(rows_sql, lake.of_roll_up(roll_up)))
        self.snapshot()

    def _rows(self, sql: str, table: Table) -> pa.Table:
        columns = ", ".join(f'"{name}"' for name in table.schema.names)
        rows = self._database.sql(f"SELECT {columns} FROM ({sql})").to_arrow_table()
        return rows.cast(table.schema)

    def _put(self, table: Table, rows: pa.Table, predicate: str | None = None) -> None:
        handle = self.lake.open(table)
        write_deltalake(handle, rows, mode="overwrite", predicate=predicate)
        self._files[table.name] = overwrites.named_files(self.lake, handle, table, self._files.get(table.name, ()))

    def change(self) -> None:
        """A new snapshot: the newest month of every view, and the roll-ups of it, are written again."""
        newest = "annee = 2025 AND mois = 12"
        for view in views.VIEWS:
            table = lake.of_view(view)
            self._put(table, self._rows(f"FROM {view.name} WHERE {newest}", table), newest)
        for roll_up in views.ROLL_UPS:
            table = lake.of_roll_up(roll_up)
            if roll_up.partitioned:
                rows = self._rows(roll_up.rows_sql(f"(FROM {roll_up.view.name} WHERE {newest})"), table)
                self._put(table, rows, newest)
        self.snapshot()

    def snapshot(self) -> None:
        version = self.lake.open(lake.SNAPSHOTS).version() + 1
        overwrites.write_manifest(
            self.lake,
            Manifest(
                id=version,
                created_at=datetime.now(UTC),
                generation=0,
                sequence=version,
                positions={SourcePartition("benchmark", 0, "ventes"): version},
                caught_up=True,
                tables={table.name: self.lake.open(table).version() for table in lake.SILVER},
                files=dict(self._files),
            ),
        )


def _upto(count: int) -> str:
    return f"range({count}) AS numbers(n)"


@dataclass(frozen=True)
class Server:
    settings: Settings
    process: psutil.Process

    def cpu_s(self) -> float:
        """What it has used since it began."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def served(lake_root: str, home: Path) -> Iterator[Server]:
    """`salesviews web` over a lake, without Kafka."""
    variables = {
        "SALESVIEWS_HOME": str(home),
        "SALESVIEWS_LAKE": lake_root,
        "SALESVIEWS_PORT": str(ports.free()),
        "SALESVIEWS_BROKER": f"127.0.0.1:{ports.free()}",
    }
    used = settings.read(variables)
    web = subprocess.Popen(
        [sys.executable, "-m", "salesviews", "web"],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                if Client(used).ask("/api/quality")[0] == 200:
                    break
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise SystemExit("the server was not ready in time")
            time.sleep(0.1)
        yield Server(used, psutil.Process(web.pid))
    finally:
        web.send_signal(signal.SIGTERM)
        web.wait(30)


class Client:
    """One client with a connection of its own, that it keeps."""

    def __init__(self, used: Settings) -> None:
        self._connection = http.client.HTTPConnection(used.host, used.port, timeout=60)

    def ask(self, path: str, tag: str | None = None) -> tuple[int, bytes, str | None]:
        """Status, body and ETag."""
        self._connection.request("GET", path, headers={} if tag is None else {"If-None-Match": tag})
        answer = self._connection.getresponse()
        body = answer.read()
        return answer.status, body, answer.headers.get("ETag")


@dataclass(frozen=True)
class Measured:
    times_ms: Sequence[float]
    bytes: int
    duration_s: float
    cpu_s: float

    def quantile(self, of_hundred: int) -> float:
        return statistics.quantiles(self.times_ms, n=100, method="inclusive")[of_hundred - 1]


def measure(server: Server, path: str, clients: int, seconds: float, is_repeated: bool = False) -> Measured:
    """Ask one question with some clients at once.

    :param is_repeated: with the ETag of the last answer
    """
    times_ms: list[float] = []
    sizes: list[int] = []
    ends = time.monotonic() + seconds

    def run() -> None:
        client = Client(server.settings)
        tag = None
        count = 0
        while time.monotonic() < ends or count < LEAST_ANSWERS:
            count += 1
            started = time.perf_counter()
            status, body, answered = client.ask(path, tag)
            times_ms.append((time.perf_counter() - started) * 1000)
            if status not in (200, 304):
                raise SystemExit(f"{path}: {status} {body[:300]!r}")
            sizes.append(len(body))
            tag = answered if is_repeated else None

    threads = [threading.Thread(target=run) for _ in range(clients)]
    started, used_s = time.monotonic(), server.cpu_s()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(times_ms, max(sizes), time.monotonic() - started, server.cpu_s() - used_s)


def questions(server: Server) -> list[str]:
    """Each endpoint that gives rows and answers without parameters, as the server describes it; and some more."""
    client = Client(server.settings)
    described = json.loads(client.ask("/api/openapi.json")[1])["paths"]
    with_rows = [path for path, item in described.items() if "text/csv" in item["get"]["responses"]["200"]["content"]]
    answered = [path for path in with_rows if client.ask(path)[0] == 200]
    print(f"Not asked, as they need parameters: {', '.join(sorted({*with_rows} - {*answered})) or 'none'}")
    return sorted([*answered, "/api/quality", "/api/status", "/api/views", *MORE])


def latencies(row_counts: Sequence[int], client_counts: Sequence[int], seconds: float) -> None:
    for rows in row_counts:
        with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as folder:
            made = SyntheticLake(Path(folder) / "lake", rows)
            with served(made.lake.root, Path(folder)) as server:
                asked = questions(server)
                for clients in client_counts:
                    _latencies(server, made, asked, rows, clients, seconds)


def _latencies(
    server: Server, made: SyntheticLake, asked: Sequence[str], rows: int, clients: int, seconds: float
) -> None:
    done = threading.Event()
    snapshots = itertools.count()

    def arrive() -> None:
        while not done.wait(1.0):
            made.change()
            next(snapshots)

    writer = threading.Thread(target=arrive)
    writer.start()
    print(f"\n{rows:,} rows, {clients} client{'s' if clients > 1 else ''}, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<82} {'p50 ms':>8} {'p99 ms':>8} {'cpu ms':>8} {'a second':>9} {'bytes':>10}")
    try:
        for path in asked:
            _print(path, measure(server, path, clients, seconds))
        _print(f"{UNCHANGED} (304)", measure(server, UNCHANGED, clients, seconds, is_repeated=True))
    finally:
        done.set()
        writer.join()
    print(f"{next(snapshots)} snapshots arrived; load {os.getloadavg()[0]:.1f}", flush=True)


def _print(name: str, of: Measured) -> None:
    rate = len(of.times_ms) / of.duration_s
    cpu_ms = of.cpu_s / len(of.times_ms) * 1000
    print(
        f"{name:<82} {of.quantile(50):>8.1f} {of.quantile(99):>8.1f} {cpu_ms:>8.2f} {rate:>9,.0f} {of.bytes:>10,}",
        flush=True,
    )


_VALID = (
    "vente_id IS NOT NULL AND client_id IS NOT NULL AND montant >= 0 AND quantite > 0 "
    "AND timestamp >= TIMESTAMPTZ '2000-01-01 00:00:00+00' AND timestamp <= kafka_timestamp + INTERVAL 1 DAY"
)
SALES_SQL = {
    "deduplicated": f"(SELECT DISTINCT ON (vente_id) * FROM bronze WHERE {_VALID})",
    "naive": f"(FROM bronze WHERE {_VALID})",
}


@dataclass(frozen=True)
class Comparison:
    """A question of the API, and the same of Bronze. In ``bronze``, ``{sales}`` is the relation of single sales.

    :param column: whose sum over the rows must be the same in both
    """

    name: str
    path: str
    bronze: str
    column: str


COMPARISONS = (
    Comparison(
        "top products",
        "/api/top_products",
        "SELECT coalesce(produit_nom, 'inconnu'), coalesce(categorie, 'inconnu'), count(*) AS n, sum(montant), "
        "avg(quantite) FROM {sales} GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 10",
        "ventes_count",
    ),
    Comparison(
        "products of a country in a month, with distinct clients",
        "/api/aggregated_sales?pays=France&month=10",
        "SELECT coalesce(produit_nom, 'inconnu'), coalesce(categorie, 'inconnu'), count(*) AS n, sum(montant), "
        "avg(montant), count(DISTINCT client_id) FROM {sales} WHERE pays = 'France' AND month(timestamp) = 10 "
        "GROUP BY 1, 2 ORDER BY 4 DESC",
        "nombre_ventes",
    ),
    Comparison(
        "sales of each hour of a day",
        "/api/hourly_sales?date=2026-10-15",
        "SELECT date_trunc('hour', timestamp), count(*) AS n, sum(montant) FROM {sales} "
        "WHERE timestamp >= TIMESTAMPTZ '2026-10-15 00:00:00+00' AND timestamp < TIMESTAMPTZ '2026-10-16 00:00:00+00' "
        "GROUP BY 1 ORDER BY 1",
        "ventes_count",
    ),
    Comparison(
        "segments by week",
        "/api/sales?group_by=segment&granularity=week",
        "SELECT coalesce(segment, 'inconnu'), date_trunc('week', timestamp), count(*) AS n, sum(montant) FROM {sales} "
        "GROUP BY 1, 2 ORDER BY 1, 2",
        "ventes_count",
    ),
    Comparison(
        "everything",
        "/api/sales",
        "SELECT count(*) AS n, sum(montant), sum(quantite) FROM {sales}",
        "ventes_count",
    ),
)


def ratios(root: str, runs: int) -> None:
    files = DeltaTable(Lake(root).uri(lake.BRONZE)).file_uris()
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute(f"SET memory_limit = '{MEMORY}'")
    database.execute(f"CREATE VIEW bronze AS FROM read_parquet({files!r})")
    ((messages,),) = database.execute("SELECT count(*) FROM bronze").fetchall()
    print(f"{messages:,} messages in {len(files)} files; load {os.getloadavg()[0]:.1f}")
    print(f"{'':<58} {'API ms':>8} {'deduplicated ms':>16} {'ratio':>7} {'naive ms':>10} {'ratio':>7}")
    with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as home, served(root, Path(home)) as server:
        for each in COMPARISONS:
            client = Client(server.settings)
            api_ms = statistics.median(measure(server, each.path, 1, 1.0).times_ms)
            served_count = sum(row[each.column] for row in json.loads(client.ask(each.path)[1])["data"])
            line = f"{each.name:<58} {api_ms:>8.2f}"
            for kind, sales in SALES_SQL.items():
                times_ms = []
                for _ in range(runs):
                    started = time.perf_counter()
                    counts = database.execute(each.bronze.format(sales=sales)).fetchnumpy()["n"]
                    times_ms.append((time.perf_counter() - started) * 1000)
                if kind == "deduplicated" and abs(sum(counts) - served_count) > served_count * TOLERANCE:
                    raise SystemExit(f"{each.name}: Bronze counts {sum(counts)} sales, the API {served_count}")
                bronze_ms = statistics.median(times_ms)
                line += f" {bronze_ms:>{max(len(kind) + 3, 10)},.0f} {bronze_ms / api_ms:>7,.0f}"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each question")
    parser.add_argument("--bronze", metavar="LAKE", help="compare with Bronze of this lake instead")
    parser.add_argument("--runs", type=int, default=3, help="of each question to Bronze")
    given = parser.parse_args()
    if given.bronze:
        ratios(given.bronze, given.runs)
    else:
        latencies(given.rows, given.clients, given.seconds)


if __name__ == "__main__":
    main()
