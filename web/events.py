"""What changes, as server-sent events: one a snapshot, and one where the state of the figures changes.

    event: snapshot              a snapshot is served: `changed` names the views and roll-ups whose figures differ from
    id: 42                       those of the snapshot that the listener had before; all, where that is unknown
    data: {"id": 42, "created_at": "…", "age_ms": 310, "caught_up": true, "lag_messages": 0, "waiting_ms": 0,
           "changed": ["hourly_sales", …]}

    event: state                 first thing, and when any of these changes: `caught_up`, `failure`, `audit`
    data: {"snapshot": 42, "caught_up": true, "lag_messages": 0, "waiting_ms": 0, "failure": null, "audit": {…}}

Each event is made once, whatever the number of listeners. A listener that reads slowly, or comes back after a while,
gets the newest snapshot alone, with all that changed since the one it had.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from salesviews.errors import SalesviewsError
from salesviews.lake import OVERWRITTEN
from salesviews.maintenance.history import History
from salesviews.manifest import Manifest
from web.answers import Answers
from web.snapshot import SnapshotStore, short_name
from web.watching import Watching

RETRY_MS = 2000
"""What a listener waits before it comes back after an interruption."""

STATE_INTERVAL_S = 1.0
KEPT_EVENTS = 32
"""A listener that is further behind is told of the newest snapshot alone."""

LISTENERS = 1000
"""At a time; each holds a connection."""

_REMEMBERED = 200
_LONGEST_ID = 18
_VIEWS = {short_name(table): table.name for table in OVERWRITTEN}


@dataclass(frozen=True)
class Place:
    """Where a listener is: the last event that it was given, and the last snapshot.

    :param snapshot: None where it has none
    """

    event: int
    snapshot: int | None


@dataclass(frozen=True)
class _Event:
    number: int
    snapshot: int | None
    text: str


class EventFeed:
    """Makes the events, and tells each listener those after its place. For several threads.

    :param history: finds the snapshot that a listener had before this server was started
    :param last_audit: the result of the last audit, None if there was none
    """

    def __init__(
        self,
        store: SnapshotStore,
        history: History,
        answers: Answers,
        last_audit: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._store = store
        self._history = history
        self._answers = answers
        self._last_audit = last_audit
        self._making = threading.Lock()
        self._events: deque[_Event] = deque(maxlen=KEPT_EVENTS)
        self._count = 0
        self._manifests: dict[int, Manifest] = {}
        self._newest: Manifest | None = None
        self._state: dict[str, Any] = {}
        self._followers: list[Callable[[], None]] = []
        self._watching = Watching("events", self.look, lambda: STATE_INTERVAL_S)
        self.listeners = 0
        """How many there are now; kept by who serves them."""
        self.is_closed = False
        store.follow(self.add_snapshot)

    def start(self) -> None:
        """Look at the state from now on, in a thread of its own."""
        self._watching.start()

    def close(self) -> None:
        """No more events: who serves listeners ends their streams."""
        self.is_closed = True
        self._tell()
        self._watching.close()

    def follow(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` after each new event, and when the feed is closed, in the thread that made it."""
        self._followers.append(tell)

    def add_snapshot(self, served: Manifest) -> None:
        """A snapshot is served from now on."""
        with self._making:
            before = self._newest
            if before is not None and served.id <= before.id:  # another lake, whose ids say nothing of this one's
                self._manifests.clear()
            self._newest = self._manifests[served.id] = served
            for id_ in list(self._manifests)[:-_REMEMBERED]:
                del self._manifests[id_]
            self._add(served.id, self._snapshot_text(served, _changed(before, served)))
        self._tell()

    def look(self) -> None:
        """Make an event where the state has changed."""
        with self._making:
            state = self._look()
            if state == self._state:
                return
            self._state = state
            self._add(None, self._state_text())
        self._tell()

    def first(self, last_event_id: str | None) -> tuple[str, Place]:
        """What a listener is told when it comes. It may read the lake.

        :param last_event_id: of the last event that it had; None where it had none
        """
        before = None if last_event_id is None else self._manifest(last_event_id)
        with self._making:
            newest = self._newest
            texts = [f"retry: {RETRY_MS}\n\n"]
            if newest is not None and (before is None or before.digest != newest.digest):
                texts.append(self._snapshot_text(newest, _changed(before, newest)))
            self._state = self._state or self._look()
            texts.append(self._state_text())
            return "".join(texts), Place(self._count, None if newest is None else newest.id)

    def after(self, place: Place) -> tuple[str, Place]:
        """The events after a place, '' where there are none; it never waits for the lake."""
        with self._making:
            if place.event == self._count:
                return "", place
            newest = self._newest
            reached = Place(self._count, None if newest is None else newest.id)
            missed = [event for event in self._events if event.number > place.event]
            if len(missed) == self._count - place.event:
                return "".join(event.text for event in missed), reached
            text = ""
            if newest is not None and newest.id != place.snapshot:
                before = None if place.snapshot is None else self._manifests.get(place.snapshot)
                text = self._snapshot_text(newest, _changed(before, newest))
            return text + self._state_text(), reached

    def _manifest(self, event_id: str) -> Manifest | None:
        """The manifest of the snapshot that an event was about; None where it is not known."""
        if not (event_id.isascii() and event_id.isdigit()) or len(event_id) > _LONGEST_ID:
            return None
        id_ = int(event_id)
        if (found := self._manifests.get(id_)) is not None:
            return found
        newest = self._newest
        if newest is None or id_ >= newest.id:
            return None
        try:
            found = self._history.manifest(self._history.find(id_))
        except SalesviewsError:  # it is not kept any more, or cannot be read
            return None
        with self._making:
            # Many listeners come back with the same id when the server was started again. The oldest goes first.
            self._manifests = {id_: found} | self._manifests
        return found

    def _add(self, snapshot: int | None, text: str) -> None:
        self._count += 1
        self._events.append(_Event(self._count, snapshot, text))

    def _snapshot_text(self, served: Manifest, changed: Iterable[str]) -> str:
        described = self._answers.describe(served)
        data = {name: described[name] for name in ("id", "created_at", "age_ms", "caught_up")}
        return _text("snapshot", data | self._lag(served) | {"changed": list(changed)}, served.id)

    def _look(self) -> dict[str, Any]:
        """What makes an event when it changes."""
        newest, failure, audit = self._newest, self._store.failure, self._last_audit()
        lag = None if newest is None else self._answers.pipeline.lag(newest.positions)
        return {
            "caught_up": None if lag is None else all(partition.messages == 0 for partition in lag),
            "failure": None if failure is None else failure.message,
            "audit": None
            if audit is None
            else {name: audit.get(name) for name in ("audited_at", "holds", "snapshot", "differences_total")},
        }

    def _state_text(self) -> str:
        newest = self._newest
        data = {"snapshot": None if newest is None else newest.id, **self._state}
        return _text("state", data | self._lag(newest))

    def _lag(self, served: Manifest | None) -> dict[str, Any]:
        """Messages that Kafka has and the figures do not, and for how long; null while Kafka does not answer."""
        pipeline = self._answers.pipeline
        lag = None if served is None else pipeline.lag(served.positions)
        return {
            "lag_messages": None if lag is None else sum(partition.messages for partition in lag),
            "waiting_ms": None if served is None else pipeline.waiting_ms(served.positions),
        }

    def _tell(self) -> None:
        for tell in self._followers:
            tell()


def _changed(before: Manifest | None, after: Manifest) -> list[str]:
    """The views and roll-ups whose files are others; all where it is not known what there was before."""
    if before is None:
        return list(_VIEWS)
    return [short for short, name in _VIEWS.items() if _content(before, name) != _content(after, name)]


def _content(of: Manifest, table: str) -> object:
    """What is equal where the rows of a table are."""
    files = of.files.get(table)
    return of.tables.get(table) if files is None else {(file.path, file.digest) for file in files}


def _text(kind: str, data: dict[str, Any], event_id: int | None = None) -> str:
    line = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {kind}\n{line}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
