"""The rendered manifests: valid, and in agreement with each other and with what salesviews declares."""

import re
from typing import Any

import kubernetes_validate
import manifests
import pytest
import yaml
from containers import VARIABLES, command_of, unknown_variables
from manifests import K8S, Object
from programs import ROOT

import salesviews
from salesviews import pulse, topics
from salesviews import settings as settings_module
from salesviews.machine import broker
from salesviews.settings import PREFIX, SETTINGS

VERSIONS = ("1.36", "1.37")
CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PodMonitor"}
"""Kinds that an operator brings with it: Kubernetes has no schema of them."""

OVERLAYS = {folder.name: manifests.render(folder) for folder in sorted((K8S / "overlays").iterdir())}
OBJECTS = [
    pytest.param(overlay, each, id=f"{overlay}-{each['kind']}-{each['metadata']['name']}")
    for overlay, objects in OVERLAYS.items()
    for each in objects
]
WORKLOADS = [
    pytest.param(objects, name, each, id=f"{overlay}-{name}")
    for overlay, objects in OVERLAYS.items()
    for name, each in manifests.workloads(objects).items()
]
OURS = [each for each in WORKLOADS if "kafka" not in each.id]

ONE_MACHINE = {"KAFKA_PORT", "INGEST_PROCESSES"}
"""Settings that only `salesviews up` and the embedded Kafka look at."""


def _pod(workload: Object) -> tuple[Object, Object]:
    """The specification of its pods, and their one container."""
    template = manifests.pod_template(workload)
    assert template is not None
    [container] = template["spec"]["containers"]
    return template["spec"], container


def _named(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def _environment(objects: list[Object], container: Object) -> dict[str, str]:
    """The variables of a container; what comes from a pod's name or a Secret is named, with no value."""
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= _named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each.get("value", "") for each in container.get("env", ())}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("overlay", "of"), OBJECTS)
def test_kubernetes_would_take_it(overlay: str, of: Object, version: str) -> None:
    """Law: each object of each overlay is what the schema of two versions of Kubernetes says, and nothing more."""
    assert of["metadata"].get("namespace") == ("salesviews" if of["kind"] != "Namespace" else None), overlay
    if of["kind"] not in CUSTOM:
        kubernetes_validate.validate(of, version, strict=True)


@pytest.mark.parametrize(("objects", "name", "workload"), OURS)
def test_a_workload_runs_a_command_with_settings_that_exist(objects: list[Object], name: str, workload: Object) -> None:
    """Law: salesviews takes the command and the variables; what is named like a command runs that command."""
    _, container = _pod(workload)
    assert container["name"] == name == container["args"][0]
    command_of(container["args"])
    assert not unknown_variables(_environment(objects, container))


@pytest.mark.parametrize(("objects", "name", "workload"), WORKLOADS)
def test_pods_are_restricted(objects: list[Object], name: str, workload: Object) -> None:
    """Law: as Kubernetes' restricted standard asks, and the root of ours is read-only; nothing speaks to the API."""
    namespace = _named(objects, "Namespace", "salesviews")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod, container = _pod(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    if name != "kafka":
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("_objects", "name", "workload"), WORKLOADS)
def test_pods_ask_for_what_they_need_and_are_bounded(_objects: list[Object], name: str, workload: Object) -> None:
    """Law: CPU and memory are asked for, memory is bounded; of a process it is known whether it lives and serves."""
    _, container = _pod(workload)
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    if workload["kind"] == "CronJob":
        return
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]
        if "exec" in asked:
            executable, *arguments = asked["exec"]["command"]
            assert executable == "salesviews"
            assert arguments == ["probe", "ready" if probe == "readinessProbe" else "live", name]
            command_of(arguments)
        else:
            port = asked.get("httpGet", asked.get("tcpSocket"))["port"]
            assert port in {each["name"] for each in container["ports"]}


@pytest.mark.parametrize(("objects", "name", "workload"), WORKLOADS)
def test_volumes_match(objects: list[Object], name: str, workload: Object) -> None:
    """Law: each mount has a volume and each volume a mount; claims exist; home and lake are where the settings say."""
    pod, container = _pod(workload)
    claimed = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())]
    names = [each["name"] for each in pod.get("volumes", ())] + claimed
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert sorted(names) == sorted(mounts)
    for volume in pod.get("volumes", ()):
        if claim := volume.get("persistentVolumeClaim"):
            _named(objects, "PersistentVolumeClaim", claim["claimName"])
    if name == "kafka":
        return
    assert f"SALESVIEWS_HOME={mounts['home']}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    environment = _environment(objects, container)
    is_in_bucket = environment["SALESVIEWS_LAKE"].startswith("s3://")
    assert mounts.get("lake") == (None if is_in_bucket else environment["SALESVIEWS_LAKE"])
    if "SALESVIEWS_KAFKA_CA_FILE" in environment:
        assert environment["SALESVIEWS_KAFKA_CA_FILE"].startswith(mounts["kafka"] + "/")


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    if "matchExpressions" in selector:
        return all(labels.get(each["key"]) in each["values"] for each in selector["matchExpressions"])
    wanted: dict[str, str] = selector.get("matchLabels", selector)
    return wanted.items() <= labels.items()


@pytest.mark.parametrize(("overlay", "of"), OBJECTS)
def test_selectors_and_ports_match(overlay: str, of: Object) -> None:
    """Law: what selects pods finds some, by labels that they have; a service leads to a port that a container has."""
    pods = [
        (template["metadata"]["labels"], template["spec"]["containers"][0])
        for each in OVERLAYS[overlay]
        if (template := manifests.pod_template(each))
    ]
    spec = of.get("spec", {})
    selector = spec.get("selector") or spec.get("podSelector")
    if of["kind"] in ("PersistentVolumeClaim", "CronJob") or not selector:
        return
    if of["kind"] == "ServiceMonitor":
        services = [each for each in OVERLAYS[overlay] if each["kind"] == "Service"]
        [service] = [each for each in services if _selects(selector, each["metadata"].get("labels", {}))]
        offered = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in spec["endpoints"]} <= offered
        return
    found = [container for labels, container in pods if _selects(selector, labels)]
    assert found
    for spread in manifests.pod_template(of)["spec"].get("topologySpreadConstraints", ()) if "template" in spec else ():
        assert spread["labelSelector"] == selector
    ports = {port["name"]: port["containerPort"] for container in found for port in container.get("ports", ())}
    for endpoint in spec.get("podMetricsEndpoints", ()):
        assert all(endpoint["port"] in {port["name"] for port in container["ports"]} for container in found)
    for port in spec.get("ports", ()):
        assert port["targetPort"] in ports
    for rule in spec.get("ingress", ()):
        assert {port["port"] for port in rule["ports"]} <= ports.keys()


@pytest.mark.parametrize(
    ("objects", "name", "workload"), [each for each in OURS if each.values[2]["kind"] != "CronJob"]
)
def test_a_process_ends_in_time_and_a_budget_keeps_the_others(
    objects: list[Object], name: str, workload: Object
) -> None:
    """Law: the grace is longer than a checkpoint; a disruption takes one pod at a time, and pods are spread."""
    pod, _ = _pod(workload)
    assert pod["terminationGracePeriodSeconds"] >= {"ingest": 60, "views": 120, "web": 30}[name]
    budget = _named(objects, "PodDisruptionBudget", name)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == workload["spec"]["selector"]
    assert pod["topologySpreadConstraints"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_addresses_match(overlay: str) -> None:
    """Law: web listens on the port that its container names, Kafka is where the policy lets pods go, and is reached."""
    objects = OVERLAYS[overlay]
    _, web = _pod(manifests.workloads(objects)["web"])
    environment = _environment(objects, web)
    readable = {name: value for name, value in environment.items() if not name.endswith("_FILE")}
    secrets = {"SALESVIEWS_KAFKA_PASSWORD": "of the Secret"}
    read = settings_module.read(readable | secrets)
    assert [port["containerPort"] for port in web["ports"]] == [read.port]
    assert read.host == "0.0.0.0"
    host, _, port = read.broker.partition(":")
    [allowed] = [
        rule["port"] <= int(port) <= rule.get("endPort", rule["port"])
        for egress in _named(objects, "NetworkPolicy", "salesviews")["spec"]["egress"]
        for rule in egress["ports"]
        if rule["port"] == 9092
    ]
    assert allowed
    if "." not in host:
        _named(objects, "Service", host)
    for name in ("ingest", "views"):
        _, container = _pod(manifests.workloads(objects)[name])
        metrics = [port["containerPort"] for port in container.get("ports", ())]
        assert metrics == ([read.metrics_port] if read.metrics_port else [])


def test_a_token_is_asked_for_and_known_to_who_asks() -> None:
    """Law: what reads the web server of production has the token from the Secret that the pods have it from."""
    production = OVERLAYS["production"]
    secrets = manifests.variables(K8S / "base" / "secrets.env.example")
    [reference] = _named(production, "TriggerAuthentication", "web")["spec"]["secretTargetRef"]
    [endpoint] = _named(production, "ServiceMonitor", "web")["spec"]["endpoints"]
    credentials = endpoint["authorization"]["credentials"]
    for asked in ((reference["name"], reference["key"]), (credentials["name"], credentials["key"])):
        assert asked == ("secrets", "SALESVIEWS_WEB_TOKEN")
    assert "SALESVIEWS_WEB_TOKEN" in secrets
    [trigger] = _named(production, "ScaledObject", "ingest")["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": "web"}
    assert trigger["metadata"]["authMode"] == "bearer"


def test_every_setting_is_in_the_manifests() -> None:
    """Law: the other way round too: a cluster can set each setting, and what is commented out is the default."""
    told = (K8S / "base" / "settings.env").read_text(encoding="utf-8")
    secrets = manifests.variables(K8S / "base" / "secrets.env.example")
    defaults = dict(re.findall(r"^# (SALESVIEWS_\w+)=(.*)$", told, re.MULTILINE))
    settings = manifests.variables(K8S / "base" / "settings.env")
    by_pod = {f"{PREFIX}HOME", f"{PREFIX}INSTANCE"} | {PREFIX + name for name in ONE_MACHINE}
    places = [defaults.keys(), settings.keys(), secrets.keys(), by_pod]
    assert sorted(name for place in places for name in place) == sorted(VARIABLES)
    for setting in SETTINGS:
        assert (setting.variable in secrets) == setting.secret
        assert defaults.get(setting.variable, setting.default) == setting.default


def test_ingest_scales_to_the_partitions() -> None:
    """Law: one pod a partition at most, by lag or by CPU time; the number of pods is then the scaler's alone."""
    local, production = OVERLAYS["local"], OVERLAYS["production"]
    cpu, lag = _named(local, "HorizontalPodAutoscaler", "ingest"), _named(production, "ScaledObject", "ingest")
    partitions = settings_module.read({}).partitions
    assert cpu["spec"]["maxReplicas"] == lag["spec"]["maxReplicaCount"] == partitions
    for objects, scaler in ((local, cpu), (production, lag)):
        assert scaler["spec"]["scaleTargetRef"]["name"] == "ingest"
        assert "replicas" not in _named(objects, "Deployment", "ingest")["spec"]
    [topic] = [each for each in _strimzi() if each["kind"] == "KafkaTopic"]
    assert topic["spec"]["partitions"] == partitions
    [trigger] = lag["spec"]["triggers"]
    assert trigger["metadata"]["url"] == "http://web.salesviews.svc/api/status"
    assert trigger["metadata"]["valueLocation"] == "data.processors.ingest.lag"


def _strimzi() -> list[Any]:
    return list(yaml.safe_load_all((K8S / "strimzi" / "kafka.yaml").read_text(encoding="utf-8")))


def test_the_kafka_of_the_example_is_the_one_that_production_uses() -> None:
    """Law: names, port, user, topic and limits are those that the pipeline asks for."""
    kafka, topic, user = (next(each for each in _strimzi() if each["kind"] == kind) for kind in _STRIMZI)
    [listener] = kafka["spec"]["kafka"]["listeners"]
    _, web = _pod(manifests.workloads(OVERLAYS["production"])["web"])
    environment = _environment(OVERLAYS["production"], web)
    name = kafka["metadata"]["name"]
    assert environment["SALESVIEWS_BROKER"] == f"{name}-kafka-bootstrap.kafka.svc:{listener['port']}"
    assert environment["SALESVIEWS_KAFKA_USERNAME"] == user["metadata"]["name"]
    assert listener["authentication"]["type"] == user["spec"]["authentication"]["type"] == "scram-sha-512"
    pod, _ = _pod(manifests.workloads(OVERLAYS["production"])["ingest"])
    assert {"name": "kafka", "secret": {"secretName": f"{name}-cluster-ca-cert"}} in pod["volumes"]
    assert kafka["spec"]["kafka"]["config"]["message.max.bytes"] == topics.LARGEST_MESSAGE_BYTES
    raw = topics.raw(settings_module.read({}))
    assert topic["metadata"]["name"] == raw.name
    assert {key: str(value) for key, value in topic["spec"]["config"].items()} == raw.config


_STRIMZI = ("Kafka", "KafkaTopic", "KafkaUser")


def test_images_have_the_versions_of_this_project() -> None:
    """Law: production runs this version of salesviews, the local cluster what is built for it; its Kafka is tested."""
    _, web = _pod(manifests.workloads(OVERLAYS["production"])["web"])
    assert web["image"] == f"registry.example/salesviews:{salesviews.__version__}"
    _, web = _pod(manifests.workloads(OVERLAYS["local"])["web"])
    assert f"docker build -t {web['image']} " in (ROOT / "README.md").read_text(encoding="utf-8")
    _, kafka = _pod(manifests.workloads(OVERLAYS["local"])["kafka"])
    assert kafka["image"] == f"apache/kafka:{broker.KAFKA.rpartition(':')[2]}"


def test_every_process_and_every_job_is_there() -> None:
    """Law: the processes, and the commands that operate them."""
    jobs = {"maintain", "audit", "rebuild", "replay", "generate"}
    for objects in OVERLAYS.values():
        assert manifests.workloads(objects).keys() - {"kafka"} == {*pulse.PROCESSES, *jobs}
