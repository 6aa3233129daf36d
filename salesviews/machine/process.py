"""Child processes that never outlive their parent.

A child gets a session of its own, so that a Ctrl-C in the terminal reaches only the parent, which then ends its
children in its own order. On Linux the kernel kills a child whose parent dies in any way (SIGKILL too); elsewhere
such a child stays.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


def options() -> dict[str, Any]:
    """The arguments of ``subprocess.Popen`` (or asyncio's) that tie a child to this process, its input empty.

    Start it from a thread that lives as long as the child should: the kernel takes the end of that *thread* for the
    parent's death.
    """
    return {"stdin": subprocess.DEVNULL, "start_new_session": True, "preexec_fn": _die_with_parent()}


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    inherited_files: Sequence[int] = (),
    output: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start a child tied to this process (``options``), its standard output and error one: by default a pipe of text.

    :param environment: the child's whole environment; default: this process's own
    :param inherited_files: descriptors that the child keeps open
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=inherited_files,
        **options(),
    )


def _die_with_parent() -> Callable[[], None] | None:
    """What the child does between fork and exec; None where the system has no such thing."""
    if sys.platform != "linux":
        return None
    prctl: Any = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before prctl: no signal will come
            os._exit(1)

    return arrange


def send(child: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal; nothing happens where the child has ended."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def ending(returncode: int) -> str:
    """How a process ended, in words: ``by SIGKILL``, ``with status 1``."""
    if returncode >= 0:
        return f"with status {returncode}"
    try:
        return f"by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"by signal {-returncode}"
