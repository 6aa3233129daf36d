"""The demo as a visitor sees it: one command, real Kafka, real processes, real HTTP."""

import json
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from salesviews import settings as settings_module
from salesviews.machine import ports
from salesviews.machine.instance import DEMO_HISTORY_SALES
from salesviews.settings import Settings

START_S = 180.0
STOP_S = 15.0


def received(settings: Settings) -> int:
    """Messages in the figures; 0 while the web server does not answer."""
    try:
        with urllib.request.urlopen(f"{settings.url}/api/quality", timeout=10) as response:
            return int(json.load(response)["data"]["received"])
    except OSError:
        return 0


def tree(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("start_broker")
def test_the_demo(tmp_path: Path, start_process: Callable, eventually: Callable) -> None:
    """The dashboard's address appears, figures move on it, killed processes come back, and nothing is left at the end.

    SIGTERM ends every process of its tree, Java too, with status 0; `up` on the same folder has the same
    figures, and a SIGKILL of the supervisor leaves no process either.
    """
    settings = settings_module.read(
        {
            "SALESVIEWS_HOME": str(tmp_path / "home"),
            "SALESVIEWS_PORT": str(ports.free()),
            "SALESVIEWS_KAFKA_PORT": str(ports.free()),
            "SALESVIEWS_SNAPSHOT_INTERVAL_S": "1",
        }
    )
    dashboard = f"salesviews | Dashboard: {settings.url}\n"
    demo = start_process("demo", "--rate", "100", settings=settings)
    eventually(lambda: dashboard in demo.output, START_S, "the dashboard's address")
    eventually(lambda: received(settings) > DEMO_HISTORY_SALES, START_S, "the history, and live sales after it")

    status = start_process("status", settings=settings)
    assert status.wait() == 0
    assert "silver/ventes_clean" in status.output

    for child in tree(demo.pid):
        if child.cmdline()[-1] in ("ingest", "views", "web"):
            child.send_signal(signal.SIGKILL)
    eventually(lambda: demo.output.count("ended by SIGKILL; starting it again") == 3, START_S, "three are restarted")
    counted = eventually(lambda: received(settings), START_S, "figures after the restarts")
    counted = eventually(lambda: (now := received(settings)) > counted and now, START_S, "figures that move again")

    children = tree(demo.pid)
    assert "java" in {child.name() for child in children}
    assert demo.terminate() == 0
    assert all(map(is_gone, children))

    up = start_process("up", settings=settings)
    eventually(lambda: dashboard in up.output, START_S, "the same folder again")
    assert received(settings) >= counted
    children = tree(up.pid)
    up.kill()
    eventually(lambda: all(map(is_gone, children)), STOP_S, "no process after SIGKILL")
