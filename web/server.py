"""Runs the application on uvicorn, until SIGTERM or SIGINT."""

import asyncio
import logging
import resource
import signal
import socket
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import uvicorn

from salesviews.errors import AddressError
from salesviews.lake import Lake
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.settings import Settings
from web.access import Access
from web.answers import Answers
from web.app import create_app
from web.audits import AuditWatch
from web.connection import Connection
from web.events import LISTENERS, EventFeed
from web.gateway import LARGEST_HEAD_BYTES, Gateway
from web.past import PastSnapshots
from web.pipeline import KafkaObserver, PipelineWatch
from web.snapshot import SnapshotStore

logger = logging.getLogger(__name__)

THREADS = 8
"""Requests that are worked on at a time; others wait. Listeners of events take none."""

OTHER_CONNECTIONS = 500
"""Beside those of the listeners."""

IDLE_S = 30
"""A connection without a request is closed after it."""

UNREAD_MS = 30_000
"""A client that takes nothing of what it is sent for so long is cut off, by the system."""

FINISH_S = 10
"""What requests under way have after a signal."""

_QUEUED_CONNECTIONS = 1024
_OWN_FILES = 256


def run(settings: Settings) -> None:
    """Serve in the foreground, and return once SIGTERM or SIGINT arrived.

    1. Listen, so that a taken port is told before anything starts.
    2. Start the threads that follow the lake and Kafka.
    3. Serve. A signal ends it: no new requests, those under way are finished, streams of events end at once.
    4. Stop the threads. They own nothing that must be kept: a kill at any step loses nothing.

    :raises AddressError: if the address cannot be listened on
    """

    def now() -> datetime:
        return datetime.now(UTC)

    # 1
    listener = _listen(settings.host, settings.port)
    _allow_files(LISTENERS + OTHER_CONNECTIONS + _OWN_FILES)
    source = Lake.of(settings)
    store = SnapshotStore(source, now)
    retention = Retention(settings.retention_days, settings.retention_step_s)
    past = PastSnapshots(source, History(source, retention, now))
    audits = AuditWatch(source)
    pipeline = PipelineWatch(KafkaObserver(settings, lambda: store.generation), now)
    feed = EventFeed(store, past.history, Answers(pipeline, now), lambda: audits.last)
    access = Access(settings.web_token, settings.host)
    if not (access.needs_token or access.is_on_loopback):
        logger.warning("Whoever reaches %s can read the figures: no SALESVIEWS_WEB_TOKEN is set.", settings.url)
    app = create_app(store, past, pipeline, now, lambda: audits.last, source, feed, access)
    server = _Server(Gateway(app, feed, THREADS), feed)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # 2
    store.start()
    pipeline.start()
    feed.start()
    audits.start()
    print(f"Listening on {settings.url}", flush=True)
    # 3
    try:
        asyncio.run(server.serve([listener]))
    finally:
        # 4
        feed.close()
        store.close()
        pipeline.close()
        audits.close()
        logger.info("The web server stopped.")


class _Server(uvicorn.Server):
    """uvicorn, which on a signal ends the streams first."""

    def __init__(self, gateway: Gateway, feed: EventFeed) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=LISTENERS + OTHER_CONNECTIONS,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=FINISH_S,
                h11_max_incomplete_event_size=LARGEST_HEAD_BYTES,
                backlog=_QUEUED_CONNECTIONS,
            )
        )
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections take it over
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
            listener.bind(where)
            listener.listen(_QUEUED_CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(
            f"The web server cannot listen on {host}, port {port}: {error.strerror or error}. "
            "Another program may have the port: give a free one in SALESVIEWS_PORT."
        ) from error
    return listener


def _allow_files(count: int) -> None:
    """Let the process have so many files and connections open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # Before and after uvicorn takes signals itself; it sends on those that it took once it has finished.
    raise SystemExit(0)
