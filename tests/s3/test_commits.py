"""Commits to a lake in an object store: exactly once, whoever races, whatever the network loses."""

import contextlib
import threading
import uuid
from collections.abc import Callable

import pyarrow as pa
import pytest
from object_store import LossyNetwork, ObjectStore

from salesviews import lake
from salesviews import settings as settings_module
from salesviews.errors import FencedError
from salesviews.lake import Lake, Table
from salesviews.tables import delta_log, files, storage
from sinks import mending
from sinks.appends import Stream, append_once
from sinks.overwrites import overwrite

TABLE = Table("test/rows", pa.schema([("stream", pa.string()), ("offset", pa.int64())]), (), "rows of tests")
ROWS = 50
COMMITS = 12


def _lake(store: ObjectStore, prefix: str, endpoint: str | None = None) -> Lake:
    settings = settings_module.read(store.variables(prefix, endpoint))
    return Lake.of(settings)


def _rows(stream: str, first: int) -> pa.Table:
    return pa.table({"stream": [stream] * ROWS, "offset": range(first, first + ROWS)}, schema=TABLE.schema)


def _append(target: Lake, stream: str) -> None:
    for first in range(0, COMMITS * ROWS, ROWS):
        append_once(target, TABLE, [Stream(stream, _rows(stream, first), "offset", first + ROWS)])


def _stored(target: Lake) -> list[tuple[str, int]]:
    rows = files.dataset(target, files.listing(target, TABLE)).to_table().to_pylist()
    return sorted((row["stream"], row["offset"]) for row in rows)


def _of(*streams: str) -> list[tuple[str, int]]:
    return sorted((stream, offset) for stream in streams for offset in range(COMMITS * ROWS))


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


def _together(*works: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_writers_that_race_lose_nothing_and_double_nothing(store: ObjectStore, prefix: str) -> None:
    """Law: two processes that append streams of their own, and two that append the same one, give each row once."""
    target = _lake(store, prefix)
    target.create(TABLE)
    _together(*(lambda stream=stream: _append(target, stream) for stream in ("a", "b", "b")))
    assert _stored(target) == _of("a", "b")


def test_an_answer_that_is_lost_doubles_nothing(store: ObjectStore, prefix: str) -> None:
    """Law: a commit that landed, and of which the writer never heard, is found, and not written again."""
    commits: list[str] = []

    def loses(method: str, path: str) -> bool:
        if method != "PUT" or "_delta_log" not in path or not path.endswith(".json"):
            return False
        commits.append(path)
        return len(commits) % 2 == 0

    network = LossyNetwork(store, loses)
    target = _lake(store, prefix, network.endpoint)
    target.create(TABLE)
    _together(lambda: _append(target, "a"), lambda: _append(target, "b"))
    assert len(network.lost) >= COMMITS // 2
    assert _stored(target) == _of("a", "b")
    network.close()


def test_an_overwriting_whose_answer_is_lost_is_whole_or_fenced(store: ObjectStore, prefix: str) -> None:
    """Law: the one writer of a table either knows that its commit landed, or ends; the table is whole either way."""
    is_lossy = False
    network = LossyNetwork(store, lambda method, path: is_lossy and method == "PUT" and path.endswith(".json"))
    target = _lake(store, prefix, network.endpoint)
    target.create(TABLE)
    handle = target.open(TABLE)
    overwrite(handle, TABLE, _rows("a", 0), {"views": 1})
    is_lossy = True
    with contextlib.suppress(FencedError):
        overwrite(handle, TABLE, _rows("b", 0), {"views": 2})
    is_lossy = False
    assert network.lost
    assert _stored(target) == sorted(("b", offset) for offset in range(ROWS))
    assert target.open(TABLE).transaction_version("views") == 2
    network.close()


def test_files_are_listed_moved_and_deleted(store: ObjectStore, prefix: str) -> None:
    """Law: what is done to the files of a table is as in a folder: its log is no data, what is gone is gone."""
    target = _lake(store, prefix)
    target.create(TABLE)
    _append(target, "a")
    log = delta_log.read(target, TABLE)
    assert log is not None
    assert log.newest == COMMITS
    assert log.checkpoints
    assert log.committed_ns(0) <= log.committed_ns(COMMITS)
    found = list(storage.data_files(target.folder(TABLE)))
    assert len(found) == COMMITS
    assert all(file.bytes > 0 for file in found)

    bad = target.folder(TABLE) / found[0].path
    kept = mending.set_aside(target, TABLE, bad)
    assert (bad.exists(), kept.exists()) == (False, True)
    storage.delete(bad)
    assert len(list(storage.data_files(target.folder(TABLE)))) == COMMITS - 1
    assert mending.forget_gone(target, TABLE) == (found[0].path,)
    assert len(_stored(target)) == (COMMITS - 1) * ROWS
    assert not target.exists(lake.BRONZE)
    assert delta_log.read(target, lake.BRONZE) is None
