import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from salesviews import event, lake, views
from salesviews.errors import BrokerError
from salesviews.metrics import OF_WEB, Kind


def scrape(client: FlaskClient) -> dict[str, Any]:
    """The families of an answer, by their names."""
    return {family.name: family for family in parse(client.get("/metrics").text)}


def values(client: FlaskClient, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric, by its labels in order of their names."""
    samples = [sample for family in scrape(client).values() for sample in family.samples if sample.name == name]
    return {tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in samples}


@pytest.fixture
def figures(silver: Any, store: Any, kafka: Any, pipeline: Any, clock: Any, home: Any) -> None:
    """A snapshot, 3 s old, with messages of which some wait, and an audit."""
    silver.lake.create(lake.BRONZE)
    motif = {"heure": clock.now, "messages": 4, "montants_arrondis": 1}
    silver.put("qualite", [motif | {"motif": name} for name in (event.VALIDE, event.DOUBLON, "json_invalide")])
    silver.snapshot({0: 10, 1: 20})
    store.refresh()
    kafka.ends = {0: 10, 1: 25}
    pipeline.look()
    home.mkdir()
    audit = {"holds": True, "audited_at": "2025-12-22T15:00:00Z", "differences_total": 0}
    (home / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    clock.advance(seconds=3)


@pytest.mark.usefixtures("figures")
def test_what_it_tells_is_what_is_declared(client: FlaskClient) -> None:
    """Law: with figures, Kafka and an audit it tells every declared metric, with its kind, help and labels."""
    client.get("/healthz")
    told = {name: family for name, family in scrape(client).items() if not name.startswith(("process_", "python_"))}
    for metric in OF_WEB:
        family = told.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, metric.name
        for sample in family.samples:
            of_buckets = {"le"} if metric.kind is Kind.HISTOGRAM and sample.name.endswith("_bucket") else set()
            assert set(sample.labels) == {*metric.labels} | of_buckets
    # The parser gives the times at which histograms were made as a family of their own.
    assert {name.removesuffix("_created") for name in told} <= {metric.name for metric in OF_WEB}


@pytest.mark.usefixtures("figures")
def test_the_values_are_those_of_the_figures(client: FlaskClient, silver: Any, clock: Any) -> None:
    """Messages by outcome, age, lag, versions, rows, the audit; an outcome that never occurred is 0."""
    messages = values(client, "salesviews_messages_total")
    assert messages[(event.VALIDE,)] == messages[("json_invalide",)] == 4
    assert messages[(event.PERDU,)] == 0
    assert sum(messages.values()) == 12
    assert values(client, "salesviews_rounded_amounts_total") == {(): 3}
    assert values(client, "salesviews_snapshot_age_seconds") == {(): 3}
    assert values(client, "salesviews_lag_messages") == {("0", "ventes"): 0, ("1", "ventes"): 5}
    assert values(client, "salesviews_waiting_seconds") == {(): 3}
    versions = values(client, "salesviews_table_version")
    assert versions[("silver/qualite",)] == silver.lake.open(lake.of_view(views.QUALITE)).version()
    assert versions[("bronze/ventes_stream",)] == 0
    assert values(client, "salesviews_table_rows")[("silver/qualite",)] == 3
    assert values(client, "salesviews_audit_holds") == {(): 1}
    assert clock.now.timestamp() - values(client, "salesviews_audit_timestamp_seconds")[()] == pytest.approx(248.123456)


def test_what_is_not_known_is_missing(client: FlaskClient, kafka: Any, pipeline: Any) -> None:
    """Law: without figures, Kafka or audit it answers, and gives no number in place of one that is not known."""
    kafka.error = BrokerError("away")
    pipeline.look()
    assert values(client, "salesviews_kafka_answers") == {(): 0}
    for name in ("snapshot_age_seconds", "lag_messages", "processes", "audit_holds", "messages_total"):
        assert values(client, f"salesviews_{name}") == {}


def test_requests_are_measured_by_route_and_status(client: FlaskClient) -> None:
    """Law: every answer counts once; addresses that are none share a label, however many there are."""
    for path in ("/healthz", "/healthz", "/readyz", "/nothing", "/nothing/else"):
        client.get(path)
    client.open("/healthz", method="BREW")
    counted = values(client, "salesviews_http_request_seconds_count")
    assert counted == {
        ("GET", "/healthz", "200"): 2,
        ("GET", "/readyz", "503"): 1,
        ("(none)", "(none)", "404"): 2,
        ("(none)", "(none)", "405"): 1,
    }


def test_openmetrics_is_spoken_too(client: FlaskClient) -> None:
    """Prometheus asks for it."""
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.mimetype == "application/openmetrics-text"
    assert list(parse_openmetrics(answer.text))
    assert client.get("/metrics").mimetype == "text/plain"
