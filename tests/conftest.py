"""What all tests share: the real broker, settings of their own, child processes that never outlive a test, waiting.

All tests share one broker (``broker``) and take a raw topic each, which makes them instances that share nothing. Only
where a test ends, secures or damages the broker itself, it has one of its own.
"""

import gc
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import hypothesis
import prerequisites
import pytest
from hypothesis import HealthCheck, Phase
from programs import PATIENCE_S, ROOT, Program

from salesviews import settings as settings_module
from salesviews.machine import ports, process
from salesviews.settings import Settings

UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis.settings.register_profile("untimed", **UNTIMED)
hypothesis.settings.register_profile("unshrunk", **UNTIMED, phases=set(Phase) - {Phase.shrink, Phase.explain})
hypothesis.settings.load_profile("untimed")

STATE_MACHINE_EXAMPLES = 8


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--s3", action="store_true", help="the tests on an object store, which `make test-s3` builds")
    parser.addoption("--sweep", type=int, default=0, metavar="ROUNDS", help="rounds more of the crash-point sweep")
    parser.addoption("--sweep-seed", type=int, default=4, metavar="SEED", help="the order of its crashes")
    parser.addoption("--damages", type=int, default=3, help="damages of each kind of file")
    parser.addoption("--damage-seed", type=int, default=1, metavar="SEED", help="where and how the files are damaged")
    parser.addoption("--examples", type=int, default=STATE_MACHINE_EXAMPLES, help="examples of the state machine test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    prerequisites.replace_missing(session, items)


def pytest_unconfigure() -> None:
    """Let go what Hypothesis keeps: its callback outlives all modules, and with it DuckDB's types, which complain."""
    gc.callbacks[:] = [each for each in gc.callbacks if not each.__module__.startswith("hypothesis.")]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """``start_process("ingest", settings=...)`` runs ``salesviews ingest``; ``command=[...]`` runs anything else."""
    programs: list[Program] = []

    def start(
        *arguments: str,
        settings: Settings | None = None,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> Program:
        variables = dict(settings_module.environment(settings) if settings else {}) | dict(environment or {})
        program = Program(
            command or [sys.executable, "-m", "salesviews", *arguments],
            tmp_path / f"program-{len(programs)}.log",
            variables,
            folder,
        )
        programs.append(program)
        return program

    yield start
    for program in reversed(programs):
        program.close()


def _eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S, what: str = "") -> object:
    timeout_s = max(timeout_s, PATIENCE_S)  # what a quiet machine takes says nothing of a busy one
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            pytest.fail(f"Not within {timeout_s:g} s: {what or condition}. Last value: {value!r}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., object]:
    """``eventually(condition, what="...")``: the first true value of ``condition()``; else it fails."""
    return _eventually


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port on which nothing listens; each call another."""
    return ports.free


@contextmanager
def _broker(home: Path) -> Iterator[Settings]:
    home.mkdir(parents=True, exist_ok=True)
    settings = settings_module.read({"SALESVIEWS_HOME": str(home), "SALESVIEWS_KAFKA_PORT": str(ports.free())})
    program = Program(
        [sys.executable, "-m", "salesviews", "broker"],
        home / "program-broker.log",
        settings_module.environment(settings),
    )
    try:

        def is_ready() -> bool:
            if program.popen.poll() is not None:
                pytest.fail(f"The broker ended {process.ending(program.popen.returncode)}:\n{program.output}")
            return "Kafka is ready" in program.output

        _eventually(is_ready, 180, "broker ready")
        yield settings
    finally:
        gc.collect()  # clients that nobody has any more end before their broker does: else they complain to the end
        program.close()


@pytest.fixture(scope="session")
def start_broker() -> Callable[[Path], AbstractContextManager[Settings]]:
    """``with start_broker(home) as settings``: a private broker with its data in that home, on a free port.

    ``settings`` are those of that home and embedded broker, everything else at its default. A second one with the same
    home, after the first, finds its messages. A test that starts Kafka otherwise has this fixture as well: where there
    is no Kafka it is not run (``prerequisites``).
    """
    return _broker


@pytest.fixture(scope="session")
def broker(
    start_broker: Callable[[Path], AbstractContextManager[Settings]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """``host:port`` of the broker that the tests of this run share."""
    with start_broker(tmp_path_factory.mktemp("broker")) as settings:
        yield settings.broker


@pytest.fixture(scope="session")
def instance_in(broker: str) -> Callable[..., Settings]:
    """``instance_in(folder)``: a fresh home in it and a raw topic of its own on the shared broker.

    ``instance_in(folder, PORT=81)`` sets more. Calls with the same ``HOME`` and ``TOPIC`` are the same instance.
    ``topics.create`` creates its topics.
    """

    def make(folder: Path, **overrides: object) -> Settings:
        name = uuid.uuid4().hex[:12]
        values = {"HOME": folder / f"home-{name}", "BROKER": broker, "TOPIC": f"ventes-{name}"} | overrides
        return settings_module.read({settings_module.PREFIX + key: str(value) for key, value in values.items()})

    return make


@pytest.fixture
def settings(instance_in: Callable[..., Settings], tmp_path: Path) -> Callable[..., Settings]:
    """``settings()`` or ``settings(PORT=81)``: ``instance_in`` the folder of this test."""
    return partial(instance_in, tmp_path)
