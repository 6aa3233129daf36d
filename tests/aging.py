"""A lake in a test's own time: the smallest that the real sinks write, whose files are as old as the test says."""

import copy
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from checkpoints import Published, rows_of, write_snapshot

from salesviews import generation, lake, maintenance, manifest
from salesviews.lake import Lake
from salesviews.maintenance import Options
from salesviews.maintenance.maintenance_result import Result
from salesviews.maintenance.retention import Retention
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.typed import Interval, SourcePartition
from salesviews.views import HOURLY_SALES, QUALITE
from sinks.appends import writer_properties
from sinks.bronze import BronzeBatch, BronzeSink
from sinks.silver import Reached, SilverSink, Take

START = datetime(2026, 1, 1, tzinfo=UTC)
DEDUP_DAYS = 30
SOURCE = SourcePartition("topic-1", 0, "ventes")
INTERVAL = timedelta(minutes=12)
RETENTION = Retention(days=0.5, step_s=3600)
"""At one snapshot in ``INTERVAL``: 5 recent ones, of the others each fifth, for 12 hours."""

Contents = dict[str, list[dict[str, Any]]]


def contents(source: Lake, found: Manifest) -> Contents:
    """Every row that a snapshot shows."""
    shown: Contents = {}
    for table in lake.SILVER:
        listed = found.listing(source, table)
        rows = files.rows(source, listed, listed.files).to_pylist()
        shown[table.name] = sorted((row for row in rows if row.get("sequence", -1) <= found.sequence), key=str)
    return shown


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file, with its size and time."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


class AgingLake:
    """Writes a snapshot of one sale after the other. A file is as old as the clock says since it was seen first.

    :param seen: the files whose time is set already
    :param shown: what each snapshot showed when it was made, by its id
    """

    def __init__(self, root: Path) -> None:
        self.lake = Lake(str(root))
        self.root = root
        self.now = START
        self.seen: set[str] = set()
        self.shown: dict[int, Contents] = {}
        self.offset = 0
        self.begin()

    def copy(self, root: Path) -> "AgingLake":
        """The same at another place."""
        shutil.copytree(self.root, root)
        made = copy.copy(self)
        made.lake, made.root, made.seen, made.shown = Lake(str(root)), root, set(self.seen), dict(self.shown)
        made.begin()
        return made

    def __call__(self) -> datetime:
        return self.now

    def begin(self) -> None:
        """The processes start, and go on after what is there."""
        mine = generation.begin(self.lake, DEDUP_DAYS)
        self.bronze, self.silver = (
            BronzeSink(self.lake, lambda: None, mine),
            SilverSink(self.lake, self, mine, DEDUP_DAYS, Published(), 1),
        )
        for sink in (self.bronze, self.silver):
            sink.start()
        found = manifest.read(self.lake)
        assert found is not None
        self.silver.begin(Reached(found.sequence, found.positions, True), {})
        self.stamp()
        self.newest()

    def stamp(self) -> None:
        """What is new is of now."""
        for name in tree(self.root).keys() - self.seen:
            os.utime(self.root / name, (self.now.timestamp(),) * 2)
            self.seen.add(name)

    def age(self, by: timedelta) -> None:
        self.stamp()
        self.now += by

    def add(self, offset: int) -> None:
        """A sale, and what it changes."""
        raw = [{"vente_id": offset, "offset": offset, "payload": b"{}", "jour": START.date()}]
        rows = pa.Table.from_pylist(raw, schema=lake.BRONZE.schema)
        self.bronze.add(BronzeBatch(Interval(SOURCE, offset, offset + 1, 0, offset + 1), rows))
        fields = {"client_id": 1, "timestamp": START, "quantite": 1, "montant": 1, "annee": 2026, "mois": 1}
        sale = [{"vente_id": offset, **fields, "sequence": offset}]
        clean = pa.Table.from_pylist(sale, schema=lake.CLEAN.schema)
        sums = [offset + 1, 100 * (offset + 1), offset + 1]
        start_ms = int(START.timestamp() * 1000)
        messages = [offset + 1] + [0] * (len(QUALITE.measures) - 1)
        changed = [
            rows_of(HOURLY_SALES, ((), start_ms, sums)),
            rows_of(QUALITE, (("valide",), start_ms, messages)),
        ]
        nothing = lake.REJECTED.schema.empty_table()
        self.silver.add(Take(clean, nothing, offset, {SOURCE: offset + 1}, True, changed))

    def snapshot(self) -> Manifest:
        """Add a sale, commit, and remember what the snapshot shows."""
        self.add(self.offset)
        self.offset += 1
        self.bronze.flush()
        write_snapshot(self.silver)
        written = self.newest()
        self.age(INTERVAL)
        return written

    def newest(self) -> Manifest:
        """The newest snapshot; what it shows is remembered."""
        found = manifest.read(self.lake)
        assert found is not None
        if found.id not in self.shown:
            self.shown[found.id] = contents(self.lake, found)
        return found

    def maintain(self, retention: Retention = RETENTION, **options: Any) -> Result:
        result = maintenance.run(self.lake, Options(retention, **options), writer_properties, self)
        self.stamp()
        return result


def data_files(source: AgingLake, table: lake.Table) -> int:
    return sum(1 for path in Path(source.lake.uri(table)).rglob("*.parquet") if "_delta_log" not in path.parts)


def log_files(source: AgingLake, table: lake.Table) -> int:
    return sum(1 for _ in (Path(source.lake.uri(table)) / "_delta_log").iterdir())
