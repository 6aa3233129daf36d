"""Every metric, declared as a value, and what this process measures of itself, for Prometheus.

The web server answers ``/metrics`` with what it knows of the figures and of its own requests (``web.exposition``). What
a processor measures is served by that processor, where SALESVIEWS_METRICS_PORT is set. Dashboard and alert rules are in
``k8s/monitoring``; a test holds that they name metrics that exist.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from salesviews.errors import AddressError
from salesviews.settings import Settings

logger = logging.getLogger(__name__)


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric. Times are seconds, as Prometheus wants them.

    :param name: of a counter it ends with ``_total``
    :param buckets: the upper bounds of a histogram
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its values are asked for."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "count", "sum"))
        return (self.name,)


def _gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - as Prometheus calls it
    return Metric(f"salesviews_{name}", Kind.GAUGE, help, labels)


def _counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    return Metric(f"salesviews_{name}_total", Kind.COUNTER, help, labels)


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Metric:  # noqa: A002
    return Metric(f"salesviews_{name}_seconds", Kind.HISTOGRAM, help, labels, buckets)


_WORK = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ANSWER = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

BUILD = _gauge(
    "build_info", "1; which program this is, and by which rules and views it counts.", "version", "definition"
)

MESSAGES = _counter("messages", "Messages that the served figures cover, by what became of them.", "motif")
ROUNDED = _counter("rounded_amounts", "Amounts with more than two decimals, which were rounded to the cent.")

SNAPSHOT_ID = _gauge("snapshot_id", "The snapshot that is served.")
SNAPSHOT_CREATED = _gauge("snapshot_created_timestamp_seconds", "When the snapshot that is served was written.")
SNAPSHOT_AGE = _gauge("snapshot_age_seconds", "For how long the snapshot that is served has been there.")
SNAPSHOT_FAILED = _gauge("snapshot_failed", "1 while a newer snapshot is there and cannot be loaded.")
GENERATION = _gauge("generation", "How often all figures were computed again from Bronze.")
TABLE_VERSION = _gauge(
    "table_version", "Version of a table: of Silver the one that is served, of Bronze the newest.", "table"
)
TABLE_ROWS = _gauge("table_rows", "Rows of a view or roll-up that is served.", "table")

KAFKA_ANSWERS = _gauge("kafka_answers", "1 while Kafka answers the web server; else the lag is unknown, and missing.")
LAG = _gauge("lag_messages", "Messages that Kafka has and the served figures do not.", "topic", "partition")
WAITING = _gauge("waiting_seconds", "For how long there have been such messages without a pause; at most two minutes.")
PROCESSOR_LAG = _gauge("processor_lag_messages", "Messages that a group of processors has not committed.", "processor")
PROCESSES = _gauge("processes", "Processes that are members of a group of processors.", "processor")

AUDIT_HOLDS = _gauge("audit_holds", "1 if the last audit found no difference between Silver and Bronze, else 0.")
AUDIT_TIME = _gauge("audit_timestamp_seconds", "When the last audit was made.")
AUDIT_DIFFERENCES = _gauge("audit_differences", "Differences that the last audit found.")

DISK_FREE = _gauge("disk_free_bytes", "Free space where the lake is; missing where it is no folder.")
DISK_SIZE = _gauge("disk_size_bytes", "All space where the lake is; missing where it is no folder.")

REQUEST_TIME = _histogram(
    "http_request", "Time to make an answer, without sending it.", _ANSWER, "route", "method", "status"
)
LISTENERS = _gauge("event_listeners", "Clients that listen to /api/events.")

BATCH_TIME = _histogram("batch", "Time that a processor works on the messages of a poll.", _WORK, "processor")
BATCH_MESSAGES = _counter("batch_messages", "Messages that a processor took, repeated ones included.", "processor")
STARTS = _gauge(
    "starts_without_commit", "How many views processes in a row began at the position of this one; 1: all is well."
)
COMMIT_TIME = _histogram("commit", "Time of a commit to a Delta table, with its writing.", _WORK, "table")

OF_WEB = (
    *(BUILD, MESSAGES, ROUNDED),
    *(SNAPSHOT_ID, SNAPSHOT_CREATED, SNAPSHOT_AGE, SNAPSHOT_FAILED, GENERATION, TABLE_VERSION, TABLE_ROWS),
    *(KAFKA_ANSWERS, LAG, WAITING, PROCESSOR_LAG, PROCESSES),
    *(AUDIT_HOLDS, AUDIT_TIME, AUDIT_DIFFERENCES),
    *(DISK_FREE, DISK_SIZE),
    *(REQUEST_TIME, LISTENERS),
)
OF_PROCESSORS = (BATCH_TIME, BATCH_MESSAGES, STARTS, COMMIT_TIME)
METRICS = (*OF_WEB, *OF_PROCESSORS)

OF_THIS_PROCESS = CollectorRegistry()
ProcessCollector(registry=OF_THIS_PROCESS)


def histogram(of: Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(of.name, of.help, of.labels, registry=registry, buckets=of.buckets)


_batch_time = histogram(BATCH_TIME, OF_THIS_PROCESS)
_batch_messages = Counter(BATCH_MESSAGES.name, BATCH_MESSAGES.help, BATCH_MESSAGES.labels, registry=OF_THIS_PROCESS)
_commit_time = histogram(COMMIT_TIME, OF_THIS_PROCESS)
_starts = Gauge(STARTS.name, STARTS.help, registry=OF_THIS_PROCESS)


def add_batch(processor: str, messages: int, elapsed_s: float) -> None:
    """A processor has worked on the messages of a poll."""
    _batch_time.labels(processor).observe(elapsed_s)
    _batch_messages.labels(processor).inc(messages)


def set_starts(starts: int) -> None:
    """So many processes in a row began at the position of this one."""
    _starts.set(starts)


@contextmanager
def commit(table: str) -> Iterator[None]:
    """Measures a commit to a Delta table; one that fails is none."""
    started_s = perf_counter()
    yield
    _commit_time.labels(table).observe(perf_counter() - started_s)


def serve(settings: Settings) -> None:
    """Serve what this process measures, in a thread of its own, until it ends; nothing where no port is set.

    :raises AddressError: if the address cannot be listened on
    """
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, settings.host, OF_THIS_PROCESS)
    except OSError as error:
        raise AddressError(
            f"Metrics cannot be served on {settings.host}, port {settings.metrics_port}: {error.strerror or error}. "
            "Each process needs a port of its own in SALESVIEWS_METRICS_PORT (`up` gives them ports in a row)."
        ) from error
    logger.info("Metrics are served on %s, port %s.", settings.host, settings.metrics_port)
