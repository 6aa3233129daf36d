from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:  # noqa: ARG001 - pytest's names
    """These tests are not of the suite: `make test-s3` has built what they need."""
    return None if config.getoption("--s3") else True


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """The store that the tests share; each takes a prefix of its own."""
    started = ObjectStore(tmp_path_factory.mktemp("minio") / "data")
    yield started
    started.close()
