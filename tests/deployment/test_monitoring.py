import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from promql_parser import AggregateExpr, BinaryExpr, VectorSelector

from salesviews.metrics import METRICS

FOLDER = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]

SERIES = {
    name: {*metric.labels, *(("le",) if name.endswith("_bucket") else ())}
    for metric in METRICS
    for name in metric.series
}
"""The labels of every series, by its name."""

TARGET = {"job", "instance"}
"""Labels that Prometheus gives every series."""

_WINDOW = "5m"


def of_this_process() -> set[str]:
    """What every process tells of itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


def expressions() -> Iterator[Any]:
    for rule in ALERTS:
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", _WINDOW)
            yield pytest.param(expression, id=f"{panel['title']} {target['refId']}")


def nodes(expression: Any) -> Iterator[Any]:
    """Every part of an expression."""
    found: list[Any] = []
    promql_parser.walk(expression, pre_visit=found.append)
    yield from found


@pytest.mark.parametrize("text", list(expressions()))
def test_expressions_name_what_exists(text: str) -> None:
    """Law: dashboard and rules are PromQL, of metrics and labels that are declared."""
    known = SERIES | {name: set() for name in of_this_process()}
    parsed = promql_parser.parse(text)
    selectors = [node for node in nodes(parsed) if isinstance(node, VectorSelector)]
    assert selectors
    labels = set(TARGET)
    for selector in selectors:
        assert selector.name in known, selector.name
        labels |= known[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name] | TARGET, (selector.name, matcher.name)
    for node in nodes(parsed):
        if isinstance(node, AggregateExpr | BinaryExpr) and node.modifier is not None:
            grouped = getattr(node.modifier, "labels", None) or []
            assert set(grouped) <= labels, node


def test_the_parts_of_expressions_are_all_looked_at() -> None:
    """Law: a name that does not exist is found wherever it stands."""
    text = "sum by (nowhere) (rate(a_total[5m])) / on (b) c > 0 or absent(d) or (e offset 5m)"
    found = list(nodes(promql_parser.parse(text)))
    assert {node.name for node in found if isinstance(node, VectorSelector)} == {"a_total", "c", "d", "e"}
    assert [node.modifier.labels for node in found if isinstance(node, AggregateExpr)] == [["nowhere"]]


def test_every_alert_says_what_to_do() -> None:
    """A name of its own, how urgent it is, what happened, and what to do."""
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_every_panel_can_be_drawn() -> None:
    """Panels have their own place and number, and ask the source that is chosen above."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_scraping_is_what_prometheus_reads() -> None:
    """The file is YAML with a job for the web server and one for the processors."""
    jobs = yaml.safe_load((FOLDER / "scrape.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["salesviews-web", "salesviews-processors"]
