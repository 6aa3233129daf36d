"""Processes of the pipeline that crash at a point of ``crash_points``.

The pipeline knows nothing of this: the call that performs each step is wrapped before its modules are imported.

A ``Nursery`` is a fork server whose processes have that done.
"""

import functools
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import fork_server
from crash_points import STEPS, Moment, Point
from fork_server import Copy, ForkServer

from salesviews.settings import Settings


class Crash:
    """Watches the steps that a process comes to, and acts at one point."""

    def __init__(self) -> None:
        self.point: Point | None = None
        """None: there is no crash, and each step that was done is written."""
        self.number = signal.SIGKILL
        """The signal that the process sends itself."""
        self._times = 0
        self.is_handing_on = False
        """A flush now is a part of that step, and none of its own."""

    def wrap(self, owner: Any, attribute: str, name_of: Callable[..., str]) -> None:
        """:param name_of: the step that a call performs, by its arguments"""
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def step(*arguments: Any, **options: Any) -> Any:
            name = name_of(*arguments, **options)
            self._reach(Moment.BEFORE, name)
            self.is_handing_on = name == "handed on"
            result = original(*arguments, **options)
            self.is_handing_on = False
            self._reach(Moment.AFTER, name)
            self._reach(Moment.LOST, name)
            return result

        setattr(owner, attribute, step)

    def _reach(self, moment: Moment, name: str) -> None:
        if not name:
            return
        if self.point is None:
            if moment is Moment.AFTER:
                os.write(1, f"STEP {name}\n".encode())
            return
        if (self.point.moment, self.point.step.name) != (moment, name):
            return
        self._times += 1
        if self._times != self.point.nth:
            return
        os.write(1, self.point.mark.encode())
        if moment is Moment.LOST:
            assert self.point.step.lost is not None
            raise self.point.step.lost()
        os.kill(os.getpid(), self.number)


def _table_of(handle: Any) -> str:
    return "/".join(handle.table_uri.rstrip("/").split("/")[-2:])


def _store_of(partition: Any) -> str:
    """Of a state partition in ``<group>/<store>/<stream>/<number>``; a window's store has its duration in its name."""
    return Path(partition.path).parents[1].name.partition("_tumbling_window_")[0]


_crash = Crash()


def prepare() -> None:
    """Wrap what performs the steps; nothing of the pipeline that uses it is imported yet."""
    crash = _crash
    import deltalake
    from quixstreams.internal_producer import InternalProducer
    from quixstreams.kafka.consumer import BaseConsumer
    from quixstreams.kafka.producer import Producer
    from quixstreams.state.rocksdb.partition import RocksDBStorePartition

    crash.wrap(deltalake, "write_deltalake", lambda handle, *_, **__: _table_of(handle))
    crash.wrap(deltalake.DeltaTable, "restore", lambda handle, *_, **__: f"return of {_table_of(handle)}")
    crash.wrap(InternalProducer, "flush", lambda *_, **__: "" if crash.is_handing_on else "produced")
    crash.wrap(Producer, "commit_transaction", lambda *_, **__: "transaction")
    crash.wrap(BaseConsumer, "commit", lambda *_, **__: "offsets")
    crash.wrap(RocksDBStorePartition, "write", lambda partition, *_, **__: f"state {_store_of(partition)}")
    crash.wrap(RocksDBStorePartition, "recover_from_changelog_message", lambda *_, **__: "changelog")

    from processors.columnar import ColumnarApplication
    from processors.memory import Memory

    crash.wrap(ColumnarApplication, "flush_producer", lambda *_, **__: "handed on")

    crash.wrap(Memory, "_read", lambda *_, **__: "history")
    fork_server.prepare()


def become(point: list[Any] | None, stops: bool, **request: Any) -> NoReturn:
    """Be a command of salesviews that crashes at a point."""
    if point:
        moment, step, nth = point
        _crash.point = Point(Moment(moment), STEPS[step], nth)
    _crash.number = signal.SIGSTOP if stops else signal.SIGKILL
    fork_server.become(**request)


class Nursery:
    """Starts processes that crash. They end at the latest with the thread that makes this.

    :param folder: for what they write
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = ForkServer(folder / "nursery.log", "crashing")
        self._numbers = itertools.count(1)

    def start(self, command: str, settings: Settings, point: Point | None, stops: bool = False) -> Copy:
        """``salesviews <command>``, which crashes at a point.

        :param stops: there it stops itself (SIGSTOP), and is not killed
        """
        request = fork_server.command_of(command, settings=settings) | {
            "point": point and [point.moment, point.step.name, point.nth],
            "stops": stops,
        }
        return self._server.start(request, self._folder / f"{command}-{next(self._numbers)}.log")

    def close(self) -> None:
        """Kill what runs."""
        self._server.close()
