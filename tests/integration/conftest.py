from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chaos import lake_volume
from pipelines import Pipeline

from salesviews import topics
from salesviews.settings import Settings


@pytest.fixture(scope="session")
def full_disk() -> tuple[str, ...]:
    """What a command begins with that may fill a disk of its own."""
    return lake_volume.rights()


@pytest.fixture
def pipeline(
    tmp_path: Path,
    start_broker: Callable[[Path], AbstractContextManager[Settings]],
    start_process: Callable[..., Any],
    free_port: Callable[[], int],
) -> Iterator[Pipeline]:
    """Nothing is started yet but the broker, and the topics exist."""
    with start_broker(tmp_path / "home") as settings:
        used = replace(settings, port=free_port(), partitions=3, bronze_interval_s=1.0, snapshot_interval_s=1.0)
        topics.create(used)
        made = Pipeline(used, start_process)
        yield made
        for program in made.programs.values():
            program.close()
