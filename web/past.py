"""Earlier snapshots, loaded from their files when they are asked for: the same tables and the same queries.

Each has a database of its own and shares nothing with the one that is served, so that loading costs live requests
nothing but processor time. A few stay loaded, those that were asked for last.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from salesviews import definition
from salesviews.errors import LakeError, SalesviewsError
from salesviews.lake import OVERWRITTEN, SNAPSHOTS, Lake, Table
from salesviews.maintenance.history import History
from salesviews.manifest import Manifest, Summary
from salesviews.tables import files
from web.snapshot import DEADLINES, Snapshot, new_database, replace_rows

logger = logging.getLogger(__name__)

LOADED_BYTES = 512 * 1024 * 1024
"""Memory of the snapshots that stay loaded; the one that was asked for last stays, whatever its size."""

WAITING = 4
"""Requests that may load a snapshot, or wait for it, at a time: half of the server's threads, so that others answer."""


class BusyError(SalesviewsError):
    """Too many requests that take long are being answered, or wait."""


class NotInSnapshotError(SalesviewsError):
    """A snapshot has no such figures: a program with other views wrote it."""


@dataclass(frozen=True)
class _Loaded:
    manifest: Manifest
    database: duckdb.DuckDBPyConnection
    bytes: int


class PastSnapshots:
    """The earlier snapshots, by id or by time.

    :param loaded_bytes: see ``LOADED_BYTES``
    """

    def __init__(self, lake: Lake, history: History, loaded_bytes: int = LOADED_BYTES) -> None:
        self._lake = lake
        self.history = history
        self._loaded_bytes = loaded_bytes
        self._choosing = threading.Lock()
        self._loading = threading.Lock()
        self._waiting = threading.Semaphore(WAITING)
        self._loaded: dict[tuple[int, datetime], _Loaded] = {}
        """The one that was asked for last is at the end."""

    @contextmanager
    def read(self, asked: int | datetime, as_of: str) -> Iterator[Snapshot]:
        """One snapshot for one request.

        :param as_of: how it was asked for, for the answer
        :raises ExpiredError: if it is not kept any more
        :raises UnknownSnapshotError: if there never was one
        :raises ParameterError: if the time has not come yet
        :raises LakeError: naming the file that cannot be read
        :raises BusyError: if too many requests wait already
        :raises NotInSnapshotError: if it has no such table
        :raises TooSlowError: if its queries take too long
        """
        loaded = self._get(self.history.find(asked))
        with loaded.database.cursor() as cursor, DEADLINES.hold(cursor):
            try:
                yield Snapshot(cursor, {loaded.manifest.digest: loaded.manifest}, as_of)
            except duckdb.CatalogException as error:
                raise NotInSnapshotError(
                    f"Snapshot {loaded.manifest.id} (generation {loaded.manifest.generation}) does not have these "
                    "figures in this form: a program with other views wrote it."
                ) from error

    def _get(self, wanted: Summary) -> _Loaded:
        """The snapshot. One is loaded at a time, and once, however many ask for it."""
        if (loaded := self._find(wanted)) is not None:
            return loaded
        if not self._waiting.acquire(blocking=False):
            raise BusyError(f"{WAITING} requests wait for earlier snapshots already. Ask again in a moment.")
        try:
            with self._loading:
                if (loaded := self._find(wanted)) is None:
                    loaded = self._load(wanted)
                    self._keep(wanted, loaded)
                return loaded
        finally:
            self._waiting.release()

    def _find(self, wanted: Summary) -> _Loaded | None:
        with self._choosing:
            loaded = self._loaded.pop(_key(wanted), None)
            if loaded is not None:
                self._loaded[_key(wanted)] = loaded
            return loaded

    def _keep(self, wanted: Summary, loaded: _Loaded) -> None:
        """Requests that still read what is dropped here keep it until they are done."""
        with self._choosing:
            self._loaded[_key(wanted)] = loaded
            while len(self._loaded) > 1 and sum(each.bytes for each in self._loaded.values()) > self._loaded_bytes:
                del self._loaded[next(iter(self._loaded))]

    def _load(self, wanted: Summary) -> _Loaded:
        started_s = time.monotonic()
        try:
            found = self.history.manifest(wanted)
            database = new_database()
            database.execute("SET threads = 1")
            for table in OVERWRITTEN:
                self._load_table(database, found, table)
        except LakeError:
            self.history.find(wanted.id)  # it may have gone while it was loaded
            raise
        replace_rows(database, SNAPSHOTS, found.to_arrow())
        ((used,),) = database.execute("SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()").fetchall()
        logger.debug("Snapshot %s is loaded: %s bytes, %.0f ms.", found.id, used, (time.monotonic() - started_s) * 1000)
        return _Loaded(found, database, used)

    def _load_table(self, database: duckdb.DuckDBPyConnection, found: Manifest, table: Table) -> None:
        """Of a program with other views a table may be missing, or have other columns; a query of it will say so."""
        try:
            listed = found.listing(self._lake, table)
            rows = files.rows(self._lake, listed, listed.files)
        except LakeError as error:
            if found.is_empty or definition.rules(found.definition) == definition.digest():
                raise
            logger.info("Snapshot %s is loaded without %s: %s", found.id, table.name, error)
            return
        replace_rows(database, table, rows)


def _key(of: Summary) -> tuple[int, datetime]:
    """An id alone is not enough: a lake that was deleted and made anew has the same ones."""
    return of.id, of.created_at
