"""What the web server tells Prometheus: the state of the figures, looked up when it is asked, and its request times."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from time import perf_counter
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

import salesviews
from salesviews import definition, event, lake, metrics
from salesviews.errors import SalesviewsError
from salesviews.lake import Lake
from salesviews.metrics import Kind, Metric
from web.events import EventFeed
from web.pipeline import PipelineWatch
from web.snapshot import NoSnapshotError, SnapshotStore

NO_ROUTE = "(none)"
"""The label of requests for addresses that are none: each address as a label would be without end."""

Value = tuple[tuple[str, ...], float]
"""The values of a metric's labels, and its value."""

_NOTHING = dict.fromkeys((event.VALIDE, event.DOUBLON, event.PERDU, *event.REJECTIONS), 0)
"""Each outcome is there before it occurs: of a series that begins with 1 Prometheus would not see that it grew."""

_QUALITY_SQL = "SELECT motif, sum(messages)::BIGINT FROM qualite GROUP BY motif"
_ROUNDED_SQL = "SELECT coalesce(sum(montants_arrondis), 0)::BIGINT FROM qualite"


class State(Collector):
    """The state of the figures as metrics. What is not known is missing, and never a number that looks like one.

    :param source: the lake that ``store`` loads its snapshots from
    """

    def __init__(
        self,
        store: SnapshotStore,
        pipeline: PipelineWatch,
        feed: EventFeed,
        source: Lake,
        clock: Callable[[], datetime],
        last_audit: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._feed = feed
        self._lake = source
        self._clock = clock
        self._last_audit = last_audit

    def describe(self) -> Iterable[Family]:
        return []

    def collect(self) -> Iterator[Family]:
        build = ((salesviews.__version__, definition.digest()), 1.0)
        yield _family(metrics.BUILD, [build])
        yield _family(metrics.LISTENERS, [((), self._feed.listeners)])
        yield _family(metrics.SNAPSHOT_FAILED, [((), self._store.failure is not None)])
        yield from self._snapshot()
        yield from self._kafka()
        yield from self._audit()
        yield from self._storage()

    def _snapshot(self) -> Iterator[Family]:
        try:
            with self._store.read() as snapshot:
                served = snapshot.manifest
                rows = snapshot.row_counts()
                by_motif = snapshot.query(_QUALITY_SQL)
                ((rounded,),) = snapshot.query(_ROUNDED_SQL)
        except NoSnapshotError:
            return
        yield _family(metrics.MESSAGES, [((motif,), count) for motif, count in (_NOTHING | dict(by_motif)).items()])
        yield _family(metrics.ROUNDED, [((), rounded)])
        yield _family(metrics.SNAPSHOT_ID, [((), served.id)])
        yield _family(metrics.SNAPSHOT_CREATED, [((), served.created_at.timestamp())])
        yield _family(metrics.SNAPSHOT_AGE, [((), (self._clock() - served.created_at).total_seconds())])
        yield _family(metrics.GENERATION, [((), served.generation)])
        versions = served.tables | self._bronze_version()
        yield _family(metrics.TABLE_VERSION, [((table,), version) for table, version in versions.items()])
        yield _family(metrics.TABLE_ROWS, [((table,), count) for table, count in rows.items()])
        if (lag := self._pipeline.lag(served.positions)) is not None:
            yield _family(
                metrics.LAG,
                [((each.partition.topic, str(each.partition.partition)), each.messages) for each in lag],
            )
        if (waiting_ms := self._pipeline.waiting_ms(served.positions)) is not None:
            yield _family(metrics.WAITING, [((), waiting_ms / 1000)])

    def _bronze_version(self) -> dict[str, int]:
        try:
            return {lake.BRONZE.name: int(self._lake.open(lake.BRONZE).version())}
        except SalesviewsError:  # there is none yet, or it cannot be read: figures are served all the same
            return {}

    def _kafka(self) -> Iterator[Family]:
        latest = self._pipeline.latest
        yield _family(metrics.KAFKA_ANSWERS, [((), latest is not None)])
        groups = {} if latest is None else latest.groups
        yield _family(metrics.PROCESSES, [((name,), len(group.members)) for name, group in groups.items()])
        yield _family(
            metrics.PROCESSOR_LAG,
            [((name,), group.lag) for name, group in groups.items() if group.lag is not None],
        )

    def _audit(self) -> Iterator[Family]:
        if (audit := self._last_audit()) is None:
            return
        try:
            audited_at = datetime.fromisoformat(audit["audited_at"]).timestamp()
            values = ((), float(audit["holds"])), ((), audited_at), ((), float(audit["differences_total"]))
        except (KeyError, TypeError, ValueError):  # another program's file
            return
        for metric, value in zip(
            (metrics.AUDIT_HOLDS, metrics.AUDIT_TIME, metrics.AUDIT_DIFFERENCES), values, strict=True
        ):
            yield _family(metric, [value])

    def _storage(self) -> Iterator[Family]:
        try:
            disk = shutil.disk_usage(self._lake.root)
        except OSError:
            return
        yield _family(metrics.DISK_FREE, [((), disk.free)])
        yield _family(metrics.DISK_SIZE, [((), disk.total)])


def _family(metric: Metric, values: Iterable[Value]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def register(app: Flask, state: State) -> CollectorRegistry:
    """Measure every request of an application; gives the registry of all that it tells.

    Call it before anything that may refuse a request, so that refusals count too.
    """
    registry = CollectorRegistry()
    registry.register(state)
    ProcessCollector(registry=registry)
    times = metrics.histogram(metrics.REQUEST_TIME, registry)

    @app.before_request
    def begin() -> None:
        g.began_s = perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else NO_ROUTE
        method = request.method if request.url_rule else NO_ROUTE
        times.labels(route, method, response.status_code).observe(perf_counter() - g.began_s)
        return response

    return registry
