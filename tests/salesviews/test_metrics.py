import socket
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse

from salesviews import metrics
from salesviews import settings as settings_module
from salesviews.errors import AddressError
from salesviews.metrics import METRICS, OF_PROCESSORS, OF_THIS_PROCESS, Kind


def registered(registry: CollectorRegistry) -> dict[str, tuple[str, str]]:
    """Kind and help of each family, by its name."""
    return {family.name: (family.type, family.documentation) for family in registry.collect()}


def test_names_are_as_prometheus_wants_them() -> None:
    """A counter ends with _total, a time is in seconds, a name occurs once."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("salesviews_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert metric.help.endswith(".")


def test_what_processors_measure_is_what_is_declared() -> None:
    """Law: a processor tells exactly the metrics of the declaration, and what every process tells of itself."""
    own = {name for name in registered(OF_THIS_PROCESS) if not name.startswith("process_")}
    assert own == {metric.name.removesuffix("_total") for metric in OF_PROCESSORS}


def test_it_is_served_where_a_port_is_set(free_port: Callable[[], int]) -> None:
    """On the address of the settings; a taken port is an error that names the setting."""
    settings = settings_module.read({"SALESVIEWS_METRICS_PORT": str(free_port())})
    metrics.add_batch("ingest", 7, 0.2)
    with metrics.commit("bronze/ventes_stream"):
        pass
    metrics.serve(settings)
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = {
        (sample.name, *sample.labels.values()): sample.value for family in parse(text) for sample in family.samples
    }
    assert samples["salesviews_batch_messages_total", "ingest"] >= 7
    assert samples["salesviews_batch_seconds_count", "ingest"] >= 1
    assert samples["salesviews_commit_seconds_count", "bronze/ventes_stream"] >= 1
    with pytest.raises(AddressError, match="SALESVIEWS_METRICS_PORT"):
        metrics.serve(settings)


def test_it_is_not_served_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a port nothing listens."""
    monkeypatch.setattr(socket, "socket", None)
    metrics.serve(settings_module.read({}))


def test_a_commit_that_fails_is_none() -> None:
    """Law: only commits that were made are measured."""

    def count() -> float | None:
        return OF_THIS_PROCESS.get_sample_value("salesviews_commit_seconds_count", {"table": "t"})

    with pytest.raises(OSError, match="full"), metrics.commit("t"):
        raise OSError("full")
    assert count() is None
    with metrics.commit("t"):
        pass
    assert count() == 1
