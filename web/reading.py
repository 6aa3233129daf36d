"""Reading single sales and messages from the lake, when a question of them is asked.

No view has them, and there are too many to hold. So it is bounded: in time, memory and threads, and in how many run at
once; a request beyond that waits a moment, and is then told to come again.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from salesviews.errors import ParameterError
from salesviews.lake import Lake
from salesviews.lineage.queries import Bounds, Queries
from salesviews.manifest import Manifest
from salesviews.views import Window
from web import deadlines, grouping
from web.grouping import FROM
from web.past import BusyError
from web.snapshot import Snapshot, instant_of

BOUNDS = Bounds(
    memory_mb=256,
    threads=2,
    time_s=deadlines.LIMIT_S - 1,  # so that a request ends by it, and says so
    remedy="ask for a shorter period, or filter by more",
)
AT_ONCE = 2
WAIT_S = 1.0
"""How long a reading waits for others to end, before it is refused."""

ABOUT = {"page": grouping.ABOUT["page"]}
"""What an answer says beside its rows, that no view gives."""


class LakeReader:
    """Makes tables of ``web.rows.Query.tables``.

    :param at_once: how many readings may run at a time
    :param wait_s: see ``WAIT_S``
    """

    def __init__(self, source: Lake, bounds: Bounds = BOUNDS, at_once: int = AT_ONCE, wait_s: float = WAIT_S) -> None:
        self._lake = source
        self._bounds = bounds
        self._at_once = at_once
        self._wait_s = wait_s
        self._free = threading.BoundedSemaphore(at_once)

    def table(self, manifest: Manifest, read: Callable[[Queries], pa.Table]) -> Callable[[], pa.Table]:
        """What reads a table of a snapshot, once it is needed.

        It raises BusyError if others read already, LineageError if it takes more than the bounds allow, and LakeError
        naming the file that is missing or damaged.
        """

        def make() -> pa.Table:
            if not self._free.acquire(timeout=self._wait_s):
                raise BusyError(f"{self._at_once} questions of single sales are being answered: ask again.")
            try:
                with Queries(self._lake, manifest, self._bounds) as queries:
                    return read(queries)
            finally:
                self._free.release()

        return make


def period(
    values: Mapping[str, Any], snapshot: Snapshot, default_start: Callable[[datetime], datetime], window: Window
) -> tuple[datetime, datetime]:
    """The period that ``FROM`` and ``TO`` ask for.

    :param default_start: from the end to the start, where that is not given
    :param window: its end is that of the window that has the latest sale, where it is not given

    :raises ParameterError: if it is empty
    """
    start, end = grouping.bounds(values)
    if end is None:
        ((since_1970_us,),) = snapshot.query("SELECT epoch_us(max(heure)) FROM hourly_sales WHERE ventes_count > 0")
        latest = snapshot.manifest.created_at if since_1970_us is None else instant_of(since_1970_us)
        end = window.end(window.start(latest))
    if start is None:
        start = default_start(end)
    if start >= end:
        raise ParameterError(FROM.name, f"from ({start:%Y-%m-%dT%H:%M:%SZ}) is not before {end:%Y-%m-%dT%H:%M:%SZ}.")
    return start, end
