"""The pulse of a processor, and what probes make of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salesviews import pulse
from salesviews import settings as settings_module
from salesviews.errors import UnreadyError
from salesviews.pulse import Pulse
from salesviews.settings import Settings


@pytest.fixture
def at(tmp_path: Path) -> Settings:
    return settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_INSTANCE": "views-0"})


def _is(settings: Settings, asked: str) -> bool:
    try:
        pulse.probe(settings, "views", asked)
    except UnreadyError:
        return False
    return True


def test_live_from_the_first_turn_and_ready_as_a_member(at: Settings) -> None:
    """Law: before the first beat neither; then live; ready only while the last beat said so."""
    assert not _is(at, "live")
    beating = Pulse(at, "views")
    beating.beat(is_ready=False)
    assert (_is(at, "live"), _is(at, "ready")) == (True, False)
    beating.beat(is_ready=True)
    assert (_is(at, "live"), _is(at, "ready")) == (True, True)
    beating.beat(is_ready=False)
    assert not _is(at, "ready")


def test_a_process_that_hangs_is_not_live(at: Settings) -> None:
    """Law: what was ready and has not come to the end of a turn for too long is neither ready nor live."""
    Pulse(at, "views").beat(is_ready=True)
    [file] = (at.home / "pulse").iterdir()
    long_ago = time.time() - pulse.LIVE_S - 1
    os.utime(file, (long_ago, long_ago))
    assert (_is(at, "live"), _is(at, "ready")) == (False, False)


def test_a_beat_renews_the_file_once_a_second(at: Settings) -> None:
    """Law: turns may be as short as they like; the file is touched when a second has passed."""
    elapsed_s = [0.0]
    beating = Pulse(at, "views", lambda: elapsed_s[0])
    beating.beat(is_ready=True)
    [file] = (at.home / "pulse").iterdir()
    os.utime(file, (1, 1))
    elapsed_s[0] = pulse.BEAT_S / 2
    beating.beat(is_ready=True)
    assert file.stat().st_mtime == 1
    elapsed_s[0] = pulse.BEAT_S
    beating.beat(is_ready=True)
    assert file.stat().st_mtime > 1


def test_what_a_process_left_says_nothing_of_its_successor(at: Settings) -> None:
    """Law: the pulse of a process that has ended counts as none."""
    code = "from salesviews import settings, pulse; pulse.Pulse(settings.read(), 'views').beat(is_ready=True)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | settings_module.environment(at), check=True)
    with pytest.raises(UnreadyError, match="has ended"):
        pulse.probe(at, "views", "ready")


def test_processes_that_share_a_home_have_a_pulse_each(at: Settings, tmp_path: Path) -> None:
    """Law: a pulse is of one processor and one instance."""
    Pulse(at, "views").beat(is_ready=True)
    other = settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_INSTANCE": "views-1"})
    assert not _is(other, "live")
    with pytest.raises(UnreadyError):
        pulse.probe(at, "ingest", "live")


def test_the_command_ends_with_its_status(at: Settings, start_process: Callable[..., Any]) -> None:
    """Law: 1 and the reason where it is not, for each process; 0 where it is."""
    for process in pulse.PROCESSES:
        program = start_process("probe", "ready", process, settings=at)
        assert program.wait() == 1
        assert process in program.output
        assert "Traceback" not in program.output
    Pulse(at, "views").beat(is_ready=True)
    assert start_process("probe", "ready", "views", settings=at).wait() == 0
