"""Processes of the pipeline that crash at a point of ``crash_points``.

The pipeline knows nothing of this: the call that performs each step is wrapped before its modules are imported.

A ``Nursery`` is a process with all of that done, of which each one that is started is a copy: a start takes a moment,
where that of a new Python takes two seconds of CPU time.
"""

import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from crash_points import STEPS, Moment, Point

from salesviews import cli
from salesviews import settings as settings_module
from salesviews.machine import process
from salesviews.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


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


def _install(crash: Crash) -> None:
    """Wrap what performs the steps; nothing of the pipeline that uses it is imported yet."""
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
    from processors.counting import History

    crash.wrap(ColumnarApplication, "flush_producer", lambda *_, **__: "handed on")

    crash.wrap(History, "ids", lambda *_, **__: "history")


def _serve(command: str) -> None:
    """Start a process for each line of standard input, one after the other; write its id, then how it ended."""
    crash = Crash()
    _install(crash)
    importlib.import_module(f"processors.{command}")
    for line in sys.stdin:
        request = json.loads(line)
        die_with_this = process.options()["preexec_fn"]
        if (child := os.fork()) == 0:
            die_with_this()
            _become(command, crash, **request)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(
    command: str, crash: Crash, environment: dict[str, str], log: str, point: list[Any] | None, stops: bool
) -> NoReturn:
    """Be ``salesviews <command>``."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(environment)
    if point:
        moment, step, nth = point
        crash.point = Point(Moment(moment), STEPS[step], nth)
    crash.number = signal.SIGSTOP if stops else signal.SIGKILL
    sys.argv = ["salesviews", command]
    cli.main()


class Nursery:
    """Starts processes of one kind, one after the other. They end at the latest with the thread that makes this.

    :param command: ``ingest`` or ``views``
    :param folder: for what they write
    """

    def __init__(self, command: str, folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, __file__, command],
            bufsize=0,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **process.options() | {"stdin": subprocess.PIPE},
        )
        self._started = 0

    def start(self, settings: Settings, point: Point | None, stops: bool = False) -> "Victim":
        """A process that crashes at a point; the one before it has ended.

        :param stops: there it stops itself (SIGSTOP), and is not killed
        """
        self._started += 1
        log = self._folder / f"{self._command}-{self._started}.log"
        log.touch()
        request = {
            "environment": dict(settings_module.environment(settings)),
            "log": str(log),
            "point": point and [point.moment, point.step.name, point.nth],
            "stops": stops,
        }
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        return Victim(int(self._server.stdout.readline()), log, self._server.stdout)

    def close(self) -> None:
        """Kill what runs."""
        self._server.kill()
        self._server.wait()


class Victim:
    """A process of a nursery; ``output`` is all that it has written."""

    def __init__(self, pid: int, log: Path, endings: Any) -> None:
        self.pid = pid
        self._log = log
        self._endings = endings
        self._returncode: int | None = None

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def poll(self, timeout_s: float = 0) -> int | None:
        """Its exit status, or less than 0 where a signal ended it; None while it runs."""
        if self._returncode is None and select.select([self._endings], [], [], timeout_s)[0]:
            self._returncode = int(self._endings.readline())
        return self._returncode

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


if __name__ == "__main__":
    _serve(sys.argv[1])
