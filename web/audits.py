"""The last audit, for the status: read now and then by a thread, as requests never touch the lake."""

from typing import Any

from salesviews.audit import audit_result
from salesviews.lake import Lake
from web.watching import Watching

INTERVAL_S = 2.0


class AuditWatch:
    """Looks at the result that `salesviews audit` leaves beside the tables."""

    def __init__(self, source: Lake) -> None:
        self._source = source
        self._watching = Watching("audits", self.look, lambda: INTERVAL_S, is_prompt=True)
        self.last: dict[str, Any] | None = None
        """None before the first audit."""

    def start(self) -> None:
        self._watching.start()

    def close(self) -> None:
        self._watching.close()

    def look(self) -> None:
        self.last = audit_result.last(self._source.place)
