"""The last audit, for the status: read now and then by a thread, as requests never touch the lake."""

import threading
from typing import Any

from salesviews.audit import audit_result
from salesviews.lake import Lake

INTERVAL_S = 2.0


class AuditWatch:
    """Looks at the result that `salesviews audit` leaves beside the tables."""

    def __init__(self, source: Lake) -> None:
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="audits", daemon=True)
        self.last: dict[str, Any] | None = None
        """None before the first audit."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def look(self) -> None:
        self.last = audit_result.last(self._source.place)

    def _watch(self) -> None:
        while True:
            self.look()
            if self._stop.wait(INTERVAL_S):
                return
