"""Runs the application on waitress, until SIGTERM or SIGINT."""

import logging
import signal
import socket
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import waitress

from salesviews import audit_result
from salesviews.errors import AddressError
from salesviews.history import History
from salesviews.lake import Lake
from salesviews.retention import Retention
from salesviews.settings import Settings
from web.app import create_app
from web.past import PastSnapshots
from web.pipeline import KafkaObserver, PipelineWatch
from web.snapshot import SnapshotStore

logger = logging.getLogger(__name__)

THREADS = 8
LARGEST_IN_MEMORY_BYTES = 64 * 1024 * 1024
SEND_BYTES = 256 * 1024
LARGEST_HEADER_BYTES = 32 * 1024
"""Of the request line and all headers: an address with some hundred filters. What is that large is 431."""
LARGEST_BODY_BYTES = 64 * 1024
"""No request needs more than a small form. What is that large is 413."""


def run(settings: Settings) -> None:
    """Serve in the foreground, and return once SIGTERM or SIGINT arrived.

    1. Listen, so that a taken port is told before anything starts.
    2. Start the threads that follow the lake and Kafka.
    3. Serve. A signal ends it: no new requests, those under way are finished.
    4. Stop the threads. They own nothing that must be kept: a kill at any step loses nothing.

    :raises AddressError: if the address cannot be listened on
    """

    def now() -> datetime:
        return datetime.now(UTC)

    # 1
    listener = _listen(settings.host, settings.port)
    source = Lake(settings.lake)
    store = SnapshotStore(source, now)
    retention = Retention(settings.retention_days, settings.retention_step_s)
    past = PastSnapshots(source, History(source, retention, now))
    pipeline = PipelineWatch(KafkaObserver(settings, lambda: store.generation), now)
    server = waitress.create_server(
        create_app(store, past, pipeline, now, lambda: audit_result.last(settings.home), source),
        sockets=[listener],
        threads=THREADS,
        ident="salesviews",
        # Large answers stay in memory, where waitress would write those over 1 MB to a file, and leave in large pieces.
        outbuf_overflow=LARGEST_IN_MEMORY_BYTES,
        send_bytes=SEND_BYTES,
        max_request_header_size=LARGEST_HEADER_BYTES,
        max_request_body_size=LARGEST_BODY_BYTES,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # 2
    store.start()
    pipeline.start()
    print(f"Listening on {settings.url}", flush=True)
    # 3
    try:
        server.run()
    finally:
        # 4
        server.close()
        store.close()
        pipeline.close()
    logger.info("The web server stopped.")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(
            f"The web server cannot listen on {host}, port {port}: {error.strerror or error}. "
            "Another program may have the port: give a free one in SALESVIEWS_PORT."
        ) from error
    return listener


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # waitress ends its loop on it, and lets requests that are under way finish.
    raise SystemExit(0)
