"""The manifests of production, rehearsed: its pods as processes here, against a real Kafka behind TLS and SCRAM."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import manifests
import pytest
import requests
import secured_broker
from confluent_kafka.admin import AdminClient
from fork_server import ForkServer
from manifests import K8S
from pipelines import WITH_A_VIEW, Pipeline, Sales
from pods import Cluster, Pod
from programs import PATIENCE_S

from salesviews import generation, lake, topics
from salesviews.settings import Settings

PROCESSES = ("ingest", "views", "web")
TOKEN = "a-token-of-32-characters-or-more"


@pytest.fixture
def cluster(
    secured: Settings, tmp_path: Path, free_port: Callable[[], int], fork_server: ForkServer
) -> Iterator[Cluster]:
    """Nothing is started. Addresses of the cluster stand for those of this machine, and nothing else is changed."""
    secrets = {
        "secrets": {"SALESVIEWS_KAFKA_PASSWORD": secured_broker.PASSWORD, "SALESVIEWS_WEB_TOKEN": TOKEN},
        "kafka-cluster-ca-cert": {"ca.crt": Path(secured.kafka_ca_file).read_text(encoding="utf-8")},
    }
    addresses = {
        "SALESVIEWS_BROKER": secured.broker,
        "SALESVIEWS_LAKE": str(tmp_path / "lake"),
        "SALESVIEWS_HOST": "127.0.0.1",
    }
    objects = manifests.render(K8S / "overlays" / "production")
    made = Cluster(objects, tmp_path, secrets, addresses, free_port, fork_server)
    yield made
    made.close()


class Visitor:
    """Somebody who keeps asking the service ``web``: it sends each request to a pod that is ready."""

    def __init__(self, cluster: Cluster) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._stop.wait(0.2):
            ready = [pod for pod in list(self._cluster.pods["web"]) if pod.is_ready]
            if not ready:
                self.failures.append("no pod of web is ready")
                continue
            try:
                _asked(random.choice(ready), "/api/top_products")
                self.answers += 1
            except requests.RequestException as error:
                self.failures.append(repr(error))

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _counting(cluster: Cluster, settings: Settings) -> Pod | None:
    """The pod of views that counts: the member of the group that has the partition."""
    group = topics.views_group(settings, generation.current(lake.Lake(settings.lake)))
    admin = AdminClient(topics.admin_config(settings))
    described = admin.describe_consumer_groups([group])[group].result()
    names = [each.group_instance_id for each in described.members if each.assignment.topic_partitions]
    return next((pod for pod in cluster.pods["views"] if f"{group}-{pod.name}" in names), None)


def test_production_starts_rolls_scales_takes_over_and_is_upgraded(
    cluster: Cluster, secured: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Law: started in any order, all pods become ready. A rolling restart of everything, scaling ingest to three pods
    and back, the loss of the pod that counts, and a release with other views, all under load: no request fails, each
    SIGTERM ends in its grace, each sale counts once, and the audit agrees.
    """
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    settings = replace(secured, bronze_interval_s=1.0, lake=cluster.addresses["SALESVIEWS_LAKE"])
    pipeline = Pipeline(settings, start_process)
    topics.create(settings)
    order = [name for name in PROCESSES for _ in range(cluster.replicas(name))]
    random.Random(seed).shuffle(order)
    sales = Sales(settings, 1)
    sales.send(100)
    for name in order:
        cluster.start(name)
    with sales:
        for pod in [pod for name in PROCESSES for pod in cluster.pods[name]]:
            pod.wait_until_ready()
        with Visitor(cluster) as visitor:
            with ThreadPoolExecutor() as controllers:  # all at once, as a new version does
                list(controllers.map(cluster.roll, PROCESSES))

            for pod in [cluster.start("ingest"), cluster.start("ingest")]:
                pod.wait_until_ready()
            status = eventually(lambda: _members(cluster, "ingest", 3), 60, "three processes share the partitions")
            assert _at({"data": status}, _lag_location(cluster)) >= 0
            assert requests.get(f"{cluster.pods['web'][0].url}/api/status", timeout=PATIENCE_S).status_code == 401
            assert all(
                "salesviews_" in _asked(pod, "/metrics").text for name in PROCESSES for pod in cluster.pods[name]
            )
            for pod in cluster.pods["ingest"][1:]:
                cluster.stop(pod)

            counting = eventually(lambda: _counting(cluster, settings), 60, "one views pod counts")
            cluster.lose(counting)
            before = sales.sent
            eventually(lambda: pipeline.has_counted(before + 300), 90, "the standby counts")
            assert all(pod.starts == 1 for name in PROCESSES for pod in cluster.pods[name])
            _upgrade(cluster, pipeline, sales, eventually)
        assert visitor.failures == []
        assert visitor.answers > 0
    eventually(pipeline.has_counted_all, 90, "all sales counted")
    for job in ("maintain", "audit"):
        status, output = cluster.run_job(job)
        assert status == 0, output
    told = eventually(lambda: _status(cluster)["audit"], 60, "web tells of the audit")
    assert sum(each["received"] for each in told["partitions"]) == sales.sent


def _upgrade(cluster: Cluster, pipeline: Pipeline, sales: Sales, eventually: Callable[..., Any]) -> None:
    """To a release with a view more: its pods refuse to count beside the old ones, until the figures are rebuilt."""
    old = {name: list(cluster.pods[name]) for name in ("ingest", "views")}
    cluster.release = WITH_A_VIEW
    new = [cluster.start("ingest"), cluster.start("views")]
    for pod in new:
        eventually(lambda pod=pod: "`salesviews rebuild` computes them again" in pod.output, 60, f"{pod.name} refuses")
    before = sales.sent
    eventually(lambda: pipeline.has_counted(before + 100), 60, "the old release counts beside them")
    assert not any(pod.is_ready for pod in new)

    status, output = cluster.run_job("rebuild")
    assert status == 0, output
    for pod in new:
        pod.wait_until_ready()
    for pod in [*old["ingest"], *old["views"]]:
        cluster.lose(pod)  # by now it is the one that refuses
    before = sales.sent
    eventually(lambda: pipeline.has_counted(before + 100), 90, "the new release counts")
    cluster.start("web").wait_until_ready()
    found = pipeline.manifest()
    assert found is not None
    assert "silver/ventes_par_categorie" in found.tables


def _status(cluster: Cluster) -> Any:
    return _asked(cluster.pods["web"][0], "/api/status").json()["data"]


def _asked(pod: Pod, path: str) -> requests.Response:
    answer = requests.get(f"{pod.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE_S)
    answer.raise_for_status()
    return answer


def _members(cluster: Cluster, name: str, count: int) -> Any:
    status = _status(cluster)
    return status if status["processors"] and len(status["processors"][name]["members"]) == count else None


def _lag_location(cluster: Cluster) -> str:
    [scaled] = [each for each in cluster.objects if each["kind"] == "ScaledObject"]
    return str(scaled["spec"]["triggers"][0]["metadata"]["valueLocation"])


def _at(body: Any, location: str) -> Any:
    for name in location.split("."):
        body = body[name]
    return body
