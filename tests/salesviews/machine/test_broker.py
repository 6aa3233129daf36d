"""The embedded Kafka, as a process."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from programs import PATIENCE_S

from salesviews import settings as settings_module
from salesviews import topics
from salesviews.errors import BrokerError
from salesviews.machine import broker, ports
from salesviews.settings import Settings

TIMEOUT_S = PATIENCE_S


def embedded(home: Path, port: int | None = None) -> Settings:
    return settings_module.read(
        {"SALESVIEWS_HOME": str(home), "SALESVIEWS_KAFKA_PORT": str(port or ports.free()), "SALESVIEWS_PARTITIONS": "1"}
    )


def produce(settings: Settings, topic: str, *values: bytes, **options: object) -> None:
    producer = Producer(settings.kafka_config | options)
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(TIMEOUT_S) == 0


def consume(settings: Settings, topic: str, count: int, **options: object) -> list[bytes]:
    config = {"group.id": "test", "auto.offset.reset": "earliest"} | options
    with closing(Consumer(settings.kafka_config | config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, TIMEOUT_S)]


def cluster_id(settings: Settings) -> str:
    return str(AdminClient(settings.kafka_config).list_topics(timeout=TIMEOUT_S).cluster_id)


def java(pid: int) -> psutil.Process:
    (child,) = psutil.Process(pid).children()
    return child


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_a_second_start_finds_the_messages_of_the_first(tmp_path: Path, start_broker: Callable) -> None:
    """A restart keeps messages, topic ids and cluster id; also in a folder with a comma, where a format broke off."""
    home = tmp_path / "maison, été"
    (home / "kafka" / "logs.new").mkdir(parents=True)
    (home / "kafka" / "logs.new" / "meta.properties").write_text("half")
    with start_broker(home) as first:
        topics.create(first)
        produce(first, first.topic, b"one", b"two")
        before = cluster_id(first), topics.topic_id(first, first.topic)
    with start_broker(home) as second:
        assert (cluster_id(second), topics.topic_id(second, second.topic)) == before
        assert consume(second, second.topic, 2) == [b"one", b"two"]


@pytest.mark.usefixtures("start_broker")
def test_sigkill_takes_java_along_and_loses_no_acknowledged_message(
    tmp_path: Path, start_process: Callable, eventually: Callable
) -> None:
    """Java never outlives its parent, so that the next start has the port and the data; acknowledged is kept."""
    settings = embedded(tmp_path / "home")
    first = start_process("broker", settings=settings)
    broker.wait_until_ready(settings, TIMEOUT_S)
    topics.create(settings)
    produce(settings, settings.topic, b"kept")
    child = java(first.pid)
    first.kill()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "Java is gone")
    start_process("broker", settings=settings)
    broker.wait_until_ready(settings, TIMEOUT_S)
    assert consume(settings, settings.topic, 1) == [b"kept"]


@pytest.mark.usefixtures("start_broker")
def test_sigterm_stops_it_cleanly(tmp_path: Path, start_process: Callable) -> None:
    """SIGTERM: Kafka shuts down by itself, and the status is 0. While up, nothing of it listens beyond the loopback."""
    settings = embedded(tmp_path / "home")
    program = start_process("broker", settings=settings)
    broker.wait_until_ready(settings, TIMEOUT_S)
    child = java(program.pid)
    listeners = [at.laddr for at in child.net_connections("tcp") if at.status == psutil.CONN_LISTEN]
    assert settings.kafka_port in {address.port for address in listeners}
    assert {address.ip.removeprefix("::ffff:") for address in listeners} == {"127.0.0.1"}
    assert program.terminate() == 0
    assert not child.is_running()
    assert (settings.kafka_folder / "logs" / ".kafka_cleanshutdown").exists()


def test_a_taken_port_is_refused_by_name(tmp_path: Path, start_process: Callable) -> None:
    """A taken port is told before anything is made, with its number and the setting that changes it."""
    settings = embedded(tmp_path / "home")
    with listening(settings.kafka_port):
        program = start_process("broker", settings=settings)
        assert program.wait() == 1
    assert f"127.0.0.1:{settings.kafka_port}" in program.output
    assert "SALESVIEWS_KAFKA_PORT" in program.output
    assert "Traceback" not in program.output
    assert not (settings.kafka_folder / "logs").exists()


@pytest.mark.usefixtures("start_broker")
def test_two_brokers_never_share_their_data(tmp_path: Path, start_process: Callable, eventually: Callable) -> None:
    """A second broker on the same folder is refused, and told which process has it."""
    home = tmp_path / "home"
    first = start_process("broker", settings=embedded(home))
    eventually((home / "kafka" / "logs").exists, TIMEOUT_S, "the first broker has the folder")
    second = start_process("broker", settings=embedded(home))
    assert second.wait() == 1
    assert f"process {first.pid}" in second.output
    assert str(home / "kafka") in second.output


@pytest.mark.usefixtures("start_broker")
def test_a_broker_that_dies_ends_the_process(tmp_path: Path, start_process: Callable) -> None:
    """Java killed from outside: status 1, and how it ended."""
    settings = embedded(tmp_path / "home")
    program = start_process("broker", settings=settings)
    broker.wait_until_ready(settings, TIMEOUT_S)
    java(program.pid).send_signal(signal.SIGKILL)
    assert program.wait() == 1
    assert "ended by itself by SIGKILL" in program.output


@pytest.mark.usefixtures("start_broker")
def test_a_broker_that_cannot_start_shows_its_log(tmp_path: Path, start_process: Callable) -> None:
    """Damaged data: status 1, with what Kafka said of it, there and in the log."""
    settings = embedded(tmp_path / "home")
    data = settings.kafka_folder / "logs"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=77\n")
    program = start_process("broker", settings=settings)
    assert program.wait() == 1
    assert "77" in program.output
    assert "77" in (settings.kafka_folder / "broker.log").read_text()


@pytest.mark.parametrize("arguments", [(), ("--download",)])
def test_an_unreachable_registry_says_what_is_needed(
    tmp_path: Path, start_process: Callable, arguments: tuple[str, ...]
) -> None:
    """Nothing cached and no network: what is missing, where it was looked for, and that another Kafka can be named."""
    settings = embedded(tmp_path / "home")
    nowhere = f"http://127.0.0.1:{ports.free()}"
    program = start_process(
        "broker",
        *arguments,
        settings=settings,
        environment={
            "JGO_CACHE_DIR": str(tmp_path / "jgo"),
            "M2_REPO": str(tmp_path / "m2"),
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), nowhere),
            "NO_PROXY": "",
            "no_proxy": "",
        },
    )
    assert program.wait() == 1
    assert broker.KAFKA in program.output
    assert str(tmp_path / "jgo") in program.output
    assert "SALESVIEWS_BROKER" in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("topic", [topics.raw, topics.typees])
def test_the_largest_message_passes(
    settings: Callable[..., Settings], topic: Callable[[Settings], topics.Topic]
) -> None:
    """A message of ``LARGEST_MESSAGE_BYTES``, less what Kafka adds to it, goes in and comes out."""
    mine = settings()
    topics.create(mine)
    largest = os.urandom(1024) * (topics.LARGEST_MESSAGE_BYTES // 1024 - 1)
    limit = 2 * topics.LARGEST_MESSAGE_BYTES
    name = topic(mine).name
    produce(mine, name, largest, **{"message.max.bytes": limit})
    received = consume(
        mine,
        name,
        1,
        **{"fetch.message.max.bytes": limit, "fetch.max.bytes": limit, "receive.message.max.bytes": 3 * limit},
    )
    assert received == [largest]


def test_waiting_for_no_broker_names_its_address(tmp_path: Path) -> None:
    """``wait_until_ready`` gives up in time, with the address and the command that starts one."""
    settings = embedded(tmp_path)
    with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{settings.kafka_port}.*salesviews broker"):
        broker.wait_until_ready(settings, 0.5)
