"""Ends queries that take too long, so that a few questions cannot hold all the server's threads.

One thread looks a few times a second at the queries that run, and ends when there are none: a query costs little more
than a note of when it began. It is no daemon: one that is stopped in the middle at the end of the process keeps what it
refers to, and DuckDB complains at length of that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from salesviews.errors import SalesviewsError

LIMIT_S = 5.0
"""For the queries of one request."""

LOOK_INTERVAL_S = 0.1


class TooSlowError(SalesviewsError):
    """A question takes more time than one may."""


class Deadlines:
    """
    :param limit_s: for what is done with a cursor
    :param elapsed_s: seconds since any fixed moment
    """

    def __init__(self, limit_s: float = LIMIT_S, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._elapsed_s = elapsed_s
        self._lock = threading.Lock()
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        """When it is to be ended, the oldest first; by the cursor's identity."""
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """End the query of a cursor that runs when its time is over.

        :raises TooSlowError: if one was ended
        """
        with self._lock:
            self._running[id(cursor)] = (self._elapsed_s() + self._limit_s, cursor)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=False)
                self._thread.start()
        try:
            yield
        except duckdb.InterruptException as error:
            raise TooSlowError(
                f"This takes more than {self._limit_s:g} s, and was ended: ask for less, by filters, a coarser "
                "granularity, fewer columns to group by, or a smaller page."
            ) from error
        finally:
            with self._lock:
                del self._running[id(cursor)]

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_INTERVAL_S)
            # Within the lock, so that no cursor is ended that has gone on to other work, and none begins unseen.
            with self._lock:
                if not self._running:
                    self._thread = None
                    return
                self._end_late()

    def _end_late(self) -> None:
        now_s = self._elapsed_s()
        for ends_at_s, cursor in self._running.values():
            if ends_at_s > now_s:
                break
            cursor.interrupt()
