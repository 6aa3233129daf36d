"""Processes that are copies of one that has imported everything: a start takes a moment, not 2 s of CPU time.

Run as a program (``python tests/fork_server.py DESCRIPTOR MODULE``) this is that process. ``MODULE`` says what it has
done before (``prepare()``), and what a copy of it becomes (``become(request)``); here, any command of salesviews.

A copy has a session, an environment, a folder and an output of its own, as a program that is started. It has not gone
through the start of Python: what is about that, and about who starts processes, is for ``programs.Program``.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from programs import PATIENCE_S, ROOT, STOP_S, clean_environment

from salesviews import cli
from salesviews import settings as settings_module
from salesviews.machine import process
from salesviews.settings import Settings

_REQUEST_BYTES = 256 * 1024


class ForkServer:
    """Starts processes, which end at the latest with the thread that makes this.

    :param log: what the server writes, but not its copies
    :param module: what its copies are
    """

    def __init__(self, log: Path, module: str = "fork_server") -> None:
        self._log = log
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
        with theirs, log.open("wb") as output:
            self._server = process.start(
                [sys.executable, __file__, str(theirs.fileno()), module],
                folder=ROOT,
                environment=clean_environment() | paths,
                inherited_files=[theirs.fileno()],
                output=output,
            )

    def start(self, request: Mapping[str, Any], log: Path) -> "Copy":
        """A process that becomes what is requested.

        :param log: where what it writes is added
        """
        log.touch()
        mine, theirs = socket.socketpair()
        with theirs:
            message = json.dumps({**request, "log": str(log)}).encode()
            socket.send_fds(self._requests, [message], [theirs.fileno()])
        answers = mine.makefile("r")
        mine.close()
        if not (pid := answers.readline()):
            raise AssertionError(f"The fork server has ended:\n{self._log.read_text()}")
        return Copy(int(pid), log, answers)

    def close(self) -> None:
        """Kill what runs."""
        self._server.kill()
        self._server.wait()
        self._requests.close()


class Copy:
    """A process of a fork server; ``output`` is all that it has written. The interface is ``Program``'s and its
    ``popen``'s.
    """

    def __init__(self, pid: int, log: Path, answers: Any) -> None:
        self.pid = pid
        self.log = log
        self.returncode: int | None = None
        self._answers = answers

    @property
    def popen(self) -> "Copy":
        return self

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def poll(self, timeout_s: float = 0) -> int | None:
        """Its exit status, or less than 0 where a signal ended it; None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], timeout_s)[0]:
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)  # with the server
            self._answers.close()
        return self.returncode

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """:raises TimeoutExpired: as ``Popen.wait``"""
        if (status := self.poll(timeout_s)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, then its exit status."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        try:
            self.terminate(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


def command_of(
    *arguments: str,
    settings: Settings | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> dict[str, Any]:
    """The request for ``salesviews <arguments>``."""
    variables = dict(settings_module.environment(settings) if settings else {}) | dict(environment or {})
    return {"arguments": arguments, "environment": variables, "folder": str(folder)}


def prepare() -> None:
    """Import all that commands import when they run."""
    for package in ("salesviews", "sinks", "processors", "web"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def become(arguments: list[str], environment: dict[str, str], folder: str) -> NoReturn:
    """Be ``salesviews <arguments>``.

    It lets go of what the server froze: DuckDB complains at length, at the end, of what is not collected. That takes
    0.3 s of CPU time then; a probe, of which there are many and whose output nobody reads, does without.
    """
    if arguments[0] != "probe":
        gc.unfreeze()
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["salesviews", *arguments]
    cli.main()


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Start a process a request; write its id to the socket that came with it, and then how it ended.

    :return: in each of these processes, what is requested of it
    """
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    pid, answers = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell(answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    answers.close()
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 1)
                if not message:
                    sys.exit("Who made this fork server is gone.")
                answers = socket.socket(fileno=descriptors[0])
                die_with_this = process.options()["preexec_fn"]
                if (pid := os.fork()) == 0:
                    die_with_this()
                    return dict(json.loads(message))
                place = os.pidfd_open(pid)
                running[place] = pid, answers
                selector.register(place, selectors.EVENT_READ)
                _tell(answers, pid)


def _tell(answers: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        answers.sendall(b"%d\n" % number)


def _leave_the_server(log: str) -> None:
    """Be a session of one's own, with nothing that is the server's."""
    os.setsid()
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    copied = importlib.import_module(sys.argv[2])
    copied.prepare()
    gc.collect()
    gc.freeze()  # a copy shares what it does not write to
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    _leave_the_server(wanted.pop("log"))
    copied.become(**wanted)
