"""An instance on one machine, in one folder: what ``up`` and ``demo`` run.

Several run side by side where each has a home, a web port and (with the embedded broker) a Kafka port of its own.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path

from salesviews import settings as settings_module
from salesviews.errors import SalesviewsError, SettingError
from salesviews.machine import broker, lock, ports, supervisor
from salesviews.machine.supervisor import Part
from salesviews.settings import RAW_TOPIC, Settings

DEMO_HOME = "./data/demo"
DEMO_MARKER = ".salesviews-demo"
DEMO_HISTORY_SALES = 200_000
DEMO_HISTORY_DAYS = 7

MAINTENANCE_INTERVAL_S = 600

_LOCK = "lock"


class Stage(IntEnum):
    """Order of starting; stopping goes the other way."""

    BROKER = 0
    TOPICS = 1
    VIEWS = 2
    INGEST = 3
    WEB = 4
    MAINTENANCE = 5
    GENERATOR = 6


def parts(settings: Settings) -> list[Part]:
    """The processes of ``up``."""
    broker_parts = [Part("broker", Stage.BROKER, (_command("broker"),))] if settings.is_broker_embedded else []
    return [
        *broker_parts,
        Part("topics", Stage.TOPICS, (_command("topics", "--wait", "600"),), ends=True),
        Part("views", Stage.VIEWS, (_command("views"),), _processor(settings, 1, 0)),
        *(
            Part(f"ingest-{number}", Stage.INGEST, (_command("ingest"),), _processor(settings, number, number))
            for number in range(1, settings.ingest_processes + 1)
        ),
        Part(
            "web",
            Stage.WEB,
            (_command("web"),),
            ready_url=f"{settings.url}/readyz",
            ready_line=f"Dashboard: {settings.url}",
        ),
        Part("maintain", Stage.MAINTENANCE, (_command("maintain", "--every", str(MAINTENANCE_INTERVAL_S)),)),
    ]


def _processor(settings: Settings, number: int, place: int) -> dict[str, str]:
    """The variables of a processor: its name among its kind, and its port among all."""
    ports = {"SALESVIEWS_METRICS_PORT": str(settings.metrics_port + place)} if settings.metrics_port else {}
    return {"SALESVIEWS_INSTANCE": str(number), **ports}


def up(settings: Settings) -> None:
    """Everything but the generator, until a signal.

    :raises SalesviewsError: if it cannot start
    """
    _run(settings, parts(settings))


def demo(environment: Mapping[str, str], rate: float, generator_options: Sequence[str] = ()) -> None:
    """Everything, with a history of sales and then live ones, until a signal.

    Where SALESVIEWS_HOME is not given, on a fresh ``DEMO_HOME``:

    1. The folder is made, with a marker. A folder that has content and no marker is refused.
    2. Its lock is taken.
    3. Everything in it is deleted, except the marker and the lock. A crash here leaves the rest to the next demo.

    On a Kafka that is not embedded such a demo also takes a fresh topic, unless SALESVIEWS_TOPIC names one.

    :param rate: live sales a second
    :param generator_options: options of ``salesviews generate``, for the history and for the live sales
    :raises SalesviewsError: if it cannot start
    """
    is_fresh = not environment.get("SALESVIEWS_HOME")
    if is_fresh:
        topic = f"{RAW_TOPIC}-demo-{time.time_ns()}" if environment.get("SALESVIEWS_BROKER") else RAW_TOPIC
        environment = {"SALESVIEWS_TOPIC": topic, **environment, "SALESVIEWS_HOME": DEMO_HOME}
    settings = settings_module.read(environment)
    history = ("--sales", str(DEMO_HISTORY_SALES), "--days", str(DEMO_HISTORY_DAYS), "--rate", "0")
    commands = [_command("generate", *options, *generator_options) for options in (history, ("--rate", f"{rate:g}"))]
    if is_fresh:
        _mark(settings.home)
    _run(settings, [*parts(settings), Part("generator", Stage.GENERATOR, tuple(commands), ends=True)], is_fresh)


def _run(settings: Settings, parts: Sequence[Part], is_fresh: bool = False) -> None:
    try:
        with lock.held(settings.home / _LOCK):
            if is_fresh:
                _empty(settings.home)
            _check_ports(settings)
            variables = {**os.environ, **settings_module.environment(settings), "PYTHONUNBUFFERED": "1"}
            supervisor.run(parts, variables)
    except lock.HeldError as error:
        raise SalesviewsError(
            f"Another `up` or `demo` (process {error.holder}) runs on {settings.home}. Stop it, or give this one a "
            "folder and ports of its own: SALESVIEWS_HOME, SALESVIEWS_PORT, SALESVIEWS_KAFKA_PORT."
        ) from None


def _check_ports(settings: Settings) -> None:
    if reason := ports.obstacle(settings.host, settings.port):
        raise SalesviewsError(
            f"The web server's address {settings.host}:{settings.port} cannot be used: {reason}. "
            "End what listens there, or set SALESVIEWS_PORT (or SALESVIEWS_HOST) to another."
        )
    if settings.is_broker_embedded:
        broker.check_port(settings)


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "salesviews", *arguments)


def _mark(home: Path) -> None:
    if home.exists() and not (home / DEMO_MARKER).exists() and any(home.iterdir()):
        raise SettingError(
            f"{home} has content that no demo wrote, so it is not deleted. Move it away, or run the demo on a folder "
            "that you name in SALESVIEWS_HOME (its content is kept)."
        )
    home.mkdir(parents=True, exist_ok=True)
    (home / DEMO_MARKER).write_text("The demo deletes what is in this folder when it starts.\n", encoding="utf-8")


def _empty(home: Path) -> None:
    for path in home.iterdir():
        if path.name in (DEMO_MARKER, _LOCK):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
