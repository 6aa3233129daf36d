"""The pulse of a processor: a file by which an orchestrator tells whether it makes progress, and whether it can serve.

Each turn of a processor's loop (a poll, and a checkpoint where one is due) beats: it renews the file's time. A process
that hangs anywhere in a turn, in a commit or a query, beats no more. ``salesviews probe`` reads it:

- live: the last beat is not older than the longest turn (``LIVE_S``). Else the process is best started again.
- ready: it is live, and a member of its consumer group, so that it works, or stands by to take over.

The file names the process that beats: what one left behind that ended says nothing of its successor.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from salesviews.errors import UnreadyError
from salesviews.settings import Settings

LIVE_S = 300.0
"""Longer than any turn: a checkpoint that retries, the dedup index or the state that is read after a take-over."""

BEAT_S = 1.0
"""Two beats are so far apart at least."""

PROCESSORS = ("ingest", "views")
WEB = "web"
PROCESSES = (*PROCESSORS, WEB)

_PATHS = {"live": "/healthz", "ready": "/readyz"}
PROBES = tuple(_PATHS)
_TIMEOUT_S = 5.0


class Pulse:
    """Written by the one process that it is of.

    :param elapsed_s: seconds since any fixed moment
    """

    def __init__(self, settings: Settings, processor: str, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._file = _file(settings, processor)
        self._elapsed_s = elapsed_s
        self._beaten_at_s = -BEAT_S
        self._is_ready: bool | None = None

    def beat(self, is_ready: bool) -> None:
        """A turn has come to its end.

        :param is_ready: the process can serve
        """
        now_s = self._elapsed_s()
        if is_ready == self._is_ready and now_s - self._beaten_at_s < BEAT_S:
            return
        if is_ready == self._is_ready:
            os.utime(self._file)
        else:
            self._write(is_ready)
        self._is_ready, self._beaten_at_s = is_ready, now_s

    def _write(self, is_ready: bool) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(json.dumps({**_identity(os.getpid()), "ready": is_ready}), encoding="ascii")
        new.replace(self._file)


def probe(settings: Settings, process: str, asked: str) -> str:
    """What a probe finds, in a sentence.

    :param process: one of ``PROCESSES``, on this machine
    :param asked: one of ``PROBES``
    :raises UnreadyError: if it is not live, or not ready
    """
    return _of_web(settings, asked) if process == WEB else _of_processor(settings, process, asked)


def _of_processor(settings: Settings, processor: str, asked: str) -> str:
    file = _file(settings, processor)
    try:
        told = json.loads(file.read_text(encoding="ascii"))
        age_s = time.time() - file.stat().st_mtime
    except (OSError, ValueError) as error:
        raise UnreadyError(f"{processor} has not started: its pulse {file} cannot be read ({error}).") from error
    if _identity(told["pid"]) != {"pid": told["pid"], "started": told["started"]}:
        raise UnreadyError(f"{processor} has not started: process {told['pid']}, which wrote {file}, has ended.")
    if age_s > LIVE_S:
        raise UnreadyError(f"{processor} hangs: its last turn came to an end {age_s:.0f} s ago.")
    if asked == "ready" and not told["ready"]:
        raise UnreadyError(f"{processor} runs, and is not a member of its consumer group yet.")
    return f"{processor} is {asked}: its last turn came to an end {max(age_s, 0):.0f} s ago."


def _of_web(settings: Settings, asked: str) -> str:
    url = settings.url + _PATHS[asked]
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return f"web is {asked}: {url} answers."
    except urllib.error.HTTPError as error:
        raise UnreadyError(f"web is not {asked}: {url} answers {error.code}: {error.read().decode()}") from error
    except OSError as error:
        raise UnreadyError(f"web does not answer at {url}: {error}.") from error


def _file(settings: Settings, processor: str) -> Path:
    return settings.home / "pulse" / "-".join(filter(None, (processor, settings.instance)))


def _identity(pid: int) -> dict[str, int]:
    """A process, told from others that had its number before; ``started`` is 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return {"pid": pid, "started": int(fields[19])}
    except OSError:
        return {"pid": pid, "started": 0}
