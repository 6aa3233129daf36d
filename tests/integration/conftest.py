from collections.abc import Callable, Iterator
from typing import Any

import pytest
import secured_broker
from pipelines import Pipeline

from salesviews import topics
from salesviews.settings import Settings


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A client's settings of a broker behind TLS and SCRAM, which tests share as they share the other one."""
    with secured_broker.running(tmp_path_factory.mktemp("secured") / "home") as settings:
        yield settings


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
