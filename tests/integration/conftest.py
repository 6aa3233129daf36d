from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import secured_broker
from chaos import lake_volume
from fork_server import Copy, ForkServer, command_of
from pipelines import Pipeline
from programs import Program

from salesviews import topics
from salesviews.settings import Settings


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Starts the processes of the pipelines."""
    made = ForkServer(tmp_path_factory.mktemp("fork-server") / "fork-server.log")
    yield made
    made.close()


@pytest.fixture
def start_process(
    start_process: Callable[..., Program], fork_server: ForkServer, tmp_path: Path
) -> Iterator[Callable[..., Program | Copy]]:
    """As everywhere; but what runs in one process is a copy of one that has imported all."""
    copies: list[Copy] = []

    def start(*arguments: str, command: Sequence[str] | None = None, **options: Any) -> Program | Copy:
        if command or arguments[0] in ("demo", "up"):
            return start_process(*arguments, command=command, **options)
        request = command_of(*arguments, **options)
        copies.append(fork_server.start(request, tmp_path / f"copy-{len(copies)}.log"))
        return copies[-1]

    yield start
    for each in reversed(copies):
        each.close()


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A client's settings of a broker behind TLS and SCRAM, which tests share as they share the other one."""
    with secured_broker.running(tmp_path_factory.mktemp("secured") / "home") as settings:
        yield settings


@pytest.fixture(scope="session")
def full_disk() -> tuple[str, ...]:
    """What a command begins with that may fill a disk of its own."""
    return lake_volume.rights()


@pytest.fixture
def pipeline(
    settings: Callable[..., Settings],
    start_process: Callable[..., Any],
    free_port: Callable[[], int],
) -> Iterator[Pipeline]:
    """Nothing is started yet, and the topics exist."""
    used = settings(PORT=free_port(), PARTITIONS=3, BRONZE_INTERVAL_S=1, SNAPSHOT_INTERVAL_S=1)
    topics.create(used)
    made = Pipeline(used, start_process)
    yield made
    for program in made.programs.values():
        program.close()
