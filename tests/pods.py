"""The pods of rendered manifests, run as processes of this machine: commands, environment, volumes, probes, grace.

What a cluster would give is given here: names of addresses, folders for volumes, a kubelet that probes, starts again
what ends and sends SIGTERM, and controllers that scale and roll. The processes are those of the image: ``salesviews``
with the arguments and variables that the manifests name. They, and the probes that are commands, are copies of one
process (``fork_server``): each second some pod is probed, and a start of Python would take more than all they do.
"""

import contextlib
import itertools
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import manifests
from fork_server import Copy, ForkServer, command_of
from manifests import Object
from programs import PATIENCE_S, ROOT, Program

PROBE_INTERVAL_S = 2.0
"""Instead of the manifests' periods, which are longer."""
LIVENESS_PROBES = 5
"""So many probes of readiness are to one of liveness."""
FAILURE_THRESHOLD = 3
"""Where a manifest names none, Kubernetes' own."""
BACK_OFF_S = 1.0
SLOWNESS = 10
"""How many times the seconds of the manifests are given: this machine has other things to do."""


class Cluster:
    """What the objects of an overlay describe.

    :param folder: where volumes and logs are
    :param secrets: of each Secret, its values
    :param addresses: what stands for the variables that name addresses of the cluster
    :param fork_server: starts the processes
    """

    def __init__(
        self,
        objects: list[Object],
        folder: Path,
        secrets: Mapping[str, Mapping[str, str]],
        addresses: Mapping[str, str],
        free_port: Callable[[], int],
        fork_server: ForkServer,
    ) -> None:
        self.objects = objects
        self.fork_server = fork_server
        self.folder = folder
        self.secrets = secrets
        self.addresses = addresses
        self.free_port = free_port
        self.workloads = manifests.workloads(objects)
        self.pods: dict[str, list[Pod]] = {}
        self.release: Sequence[str] = ()
        """The program that pods run which are started from now on; where it is empty, this salesviews."""
        self._numbers = itertools.count()

    def replicas(self, name: str) -> int:
        """As the manifests say; where a scaler has them, its least."""
        of = self.workloads[name]["spec"]
        scaled = [each["spec"] for each in self.objects if each["kind"] == "ScaledObject"]
        least = [each["minReplicaCount"] for each in scaled if each["scaleTargetRef"]["name"] == name]
        return int(of["replicas"] if "replicas" in of else least[0])

    def start(self, name: str, ordinal: int | None = None) -> "Pod":
        """One pod more of a workload."""
        if self.workloads[name]["kind"] == "StatefulSet":
            taken = {pod.ordinal for pod in self.pods.get(name, ())}
            ordinal = next(each for each in itertools.count() if each not in taken) if ordinal is None else ordinal
            pod = Pod(self, name, f"{name}-{ordinal}", ordinal)
        else:
            pod = Pod(self, name, f"{name}-{next(self._numbers):05}")
        self.pods.setdefault(name, []).append(pod)
        pod.start()
        return pod

    def stop(self, pod: "Pod") -> None:
        """Ask a pod to end, as the kubelet does; it must, within its grace, with status 0."""
        self.pods[pod.workload].remove(pod)
        status, seconds = pod.stop()
        assert status == 0, f"{pod.name} ended with {status} after {seconds:.1f} s:\n{pod.output[-3000:]}"

    def lose(self, pod: "Pod") -> None:
        """The pod's node is gone: nobody starts it again."""
        self.pods[pod.workload].remove(pod)
        pod.kill()

    def roll(self, name: str) -> None:
        """Replace every pod: of a Deployment, a new one is ready before an old one ends; of a StatefulSet, in turn."""
        for pod in sorted(self.pods[name], key=lambda each: each.name, reverse=True):
            if self.workloads[name]["kind"] == "StatefulSet":
                self.stop(pod)
                self.start(name, pod.ordinal).wait_until_ready()
            else:
                assert self.workloads[name]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
                self.start(name).wait_until_ready()
                self.stop(pod)

    def run_job(self, name: str, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """The status of a CronJob's pod, and what it says."""
        pod = Pod(self, name, f"{name}-{next(self._numbers):05}")
        return pod.run_once(pod.container["args"], timeout_s)

    def close(self) -> None:
        for pod in [pod for pods in self.pods.values() for pod in pods]:
            pod.kill()


class Pod:
    """A pod with one container, its kubelet in a thread."""

    def __init__(self, cluster: Cluster, workload: str, name: str, ordinal: int | None = None) -> None:
        self.name, self.workload, self.ordinal = name, workload, ordinal
        self.is_ready = False
        self.starts = 0
        self._grace_s = 0.0
        self._cluster = cluster
        self._release = cluster.release
        self._of = cluster.workloads[workload]
        template = manifests.pod_template(self._of)
        assert template is not None
        self._spec = template["spec"]
        [self.container] = self._spec["containers"]
        self._ports = {port["name"]: cluster.free_port() for port in self.container.get("ports", ())}
        self._mounts = {each["mountPath"]: self._volume(each["name"]) for each in self.container["volumeMounts"]}
        self.environment = self._environment()
        self._program: Program | Copy | None = None
        self._ending = threading.Event()
        self._kubelet = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def output(self) -> str:
        return self._program.output if self._program else ""

    @property
    def url(self) -> str:
        """Of its one port."""
        [port] = self._ports.values()
        return f"http://127.0.0.1:{port}"

    def start(self) -> None:
        self._kubelet.start()

    def wait_until_ready(self, timeout_s: float = PATIENCE_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not self.is_ready:
            assert time.monotonic() < deadline_s, f"{self.name} is not ready:\n{self.output[-3000:]}"
            time.sleep(0.1)

    def stop(self) -> tuple[int, float]:
        """Its status, and how long it took; what is still there at the end of the grace is killed (-9)."""
        self._grace_s = SLOWNESS * self._spec["terminationGracePeriodSeconds"]
        return self._end()

    def kill(self) -> None:
        self._end()

    def _end(self) -> tuple[int, float]:
        self.is_ready = False
        begun_s = time.monotonic()
        self._ending.set()
        self._kubelet.join()
        assert self._program is not None
        return self._program.popen.returncode, time.monotonic() - begun_s

    def run_once(self, arguments: list[str], timeout_s: float) -> tuple[int, str]:
        """The status of ``salesviews <arguments>`` in this container, and what it wrote; -9 where it had to be killed.

        It is the entry point of the image, or what a probe names.
        """
        with tempfile.TemporaryDirectory() as folder:
            program = self._started(arguments, Path(folder, "log"))
            try:
                program.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                program.kill()
            return program.popen.returncode, program.output

    def _started(self, arguments: list[str], log: Path) -> Program | Copy:
        if self._release:
            return Program([*self._release, *arguments], log, self.environment)
        return self._cluster.fork_server.start(command_of(*arguments, environment=self.environment), log)

    def _volume(self, name: str) -> Path:
        volumes = {each["name"]: each for each in self._spec.get("volumes", ())}
        if name not in volumes:  # a claim of the StatefulSet, kept by the pod's name
            folder = self._cluster.folder / f"{name}-{self.name}"
        elif "persistentVolumeClaim" in volumes[name]:
            folder = self._cluster.folder / volumes[name]["persistentVolumeClaim"]["claimName"]
        elif "secret" in volumes[name]:
            secret = volumes[name]["secret"]["secretName"]
            folder = self._cluster.folder / secret
            folder.mkdir(parents=True, exist_ok=True)
            for key, value in self._cluster.secrets[secret].items():
                file = folder / key
                if not file.exists():  # other pods read it: it must never be seen empty
                    being_written = folder / f".{key}-{self.name}"
                    being_written.write_text(value, encoding="utf-8")
                    being_written.replace(file)
        else:
            assert volumes[name] == {"name": name, "emptyDir": {}}
            folder = self._cluster.folder / "pods" / self.name / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _environment(self) -> dict[str, str]:
        image = dict(re.findall(r"(SALESVIEWS_\w+)=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
        found: dict[str, str] = image | {"TMPDIR": "/tmp"}
        for source in self.container["envFrom"]:
            if "configMapRef" in source:
                wanted = source["configMapRef"]["name"]
                [named] = [each for each in self._cluster.objects if each["metadata"]["name"] == wanted]
                found |= named["data"]
            else:
                found |= self._cluster.secrets[source["secretRef"]["name"]]
        for each in self.container.get("env", ()):
            if "valueFrom" in each:
                assert each["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
            found[each["name"]] = each.get("value", self.name)
        found = {name: self._local(value) for name, value in found.items()} | dict(self._cluster.addresses)
        variables = {"http": "SALESVIEWS_PORT", "metrics": "SALESVIEWS_METRICS_PORT"}
        return found | {variables[name]: str(port) for name, port in self._ports.items()}

    def _local(self, value: str) -> str:
        """A path in the container, as the path of the volume that is mounted there."""
        for path, folder in self._mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return f"{folder}{value.removeprefix(path)}"
        return value

    def _keep(self) -> None:
        """The kubelet: start it, and start it again when it ends or its probes say so; at last, end it.

        All in one thread, as the end of the thread that started it would be the end of the process.
        """
        while not self._ending.is_set():
            self.starts += 1
            log = self._cluster.folder / f"{self.name}.log"
            self._program = self._started(self.container["args"], log)
            self._watch(self._program)
            self.is_ready = False
            if self._ending.is_set() and self._grace_s:
                time.sleep(self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._program.terminate(self._grace_s)
            self._program.kill()
            self._ending.wait(BACK_OFF_S)

    def _watch(self, program: Program | Copy) -> None:
        """Return when the process has ended, or should be."""
        failures = {"startupProbe": 0, "livenessProbe": 0, "readinessProbe": 0}
        asked = ["startupProbe"]
        for turn in itertools.count(1):
            if program.popen.poll() is not None:
                return
            for probe in asked:
                failures[probe] = 0 if self._passes(self.container[probe]) else failures[probe] + 1
                if failures[probe] >= self.container[probe].get("failureThreshold", FAILURE_THRESHOLD):
                    self.is_ready = False
                    if probe != "readinessProbe":
                        return
            has_started = asked != ["startupProbe"] or failures["startupProbe"] == 0
            if "readinessProbe" in asked and failures["readinessProbe"] == 0:
                self.is_ready = not self._ending.is_set()
            if has_started:
                asked = ["readinessProbe", *(["livenessProbe"] if turn % LIVENESS_PROBES == 0 else ())]
            if self._ending.wait(PROBE_INTERVAL_S if has_started else PROBE_INTERVAL_S / 4):
                return

    def _passes(self, probe: Object) -> bool:
        timeout_s = SLOWNESS * probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            return self.run_once(probe["exec"]["command"][1:], timeout_s)[0] == 0
        asked: dict[str, Any] = probe["httpGet"]
        try:
            with urllib.request.urlopen(f"{self.url}{asked['path']}", timeout=timeout_s):
                assert asked["port"] in self._ports
                return True
        except (urllib.error.URLError, OSError):
            return False
