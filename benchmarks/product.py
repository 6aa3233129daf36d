"""The product as an operator has it: commands of a checkout, on a folder and ports of its own."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import pyarrow as pa
from confluent_kafka import Producer
from deltalake import DeltaTable

from salesviews.machine import ports

TOPIC = "ventes"
STOP_S = 60.0


class NotDoneError(Exception):
    """A process ended, or took longer than it may."""


class Product:
    """
    :param checkout: with a ``.venv``
    :param folder: of all that it keeps
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout = checkout
        self.folder = folder
        self.lake = folder / "lake"
        self._kafka_port, self._port = ports.free(), ports.free()
        variables = {
            "SALESVIEWS_HOME": str(folder),
            "SALESVIEWS_KAFKA_PORT": str(self._kafka_port),
            "SALESVIEWS_PORT": str(self._port),
            "SALESVIEWS_TOPIC": TOPIC,
        }
        self._environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: str, *arguments: str, name: str = "") -> subprocess.Popen[bytes]:
        """Start a command; by its name, or the one given, it is stopped, and its log read."""
        with self.log(name or command).open("ab") as log:
            started = subprocess.Popen(
                [self.checkout / ".venv" / "bin" / "salesviews", command, *arguments],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running[name or command] = started
        return started

    def log(self, command: str) -> Path:
        return self.folder / f"{command}.log"

    def has_said(self, command: str, words: str) -> bool:
        return words in self.log(command).read_text(errors="replace")

    def tail(self, command: str) -> str:
        return self.log(command).read_text(errors="replace")[-2000:]

    def stop(self, command: str) -> None:
        process = self.running.pop(command)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{command} does not stop within {STOP_S:g} s: killing it", flush=True)
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        for command in reversed([*self.running]):
            self.stop(command)

    def run(self, command: str, *arguments: str, timeout_s: float = 600) -> None:
        """To its normal end."""
        self.start(command, *arguments)
        self.until_ended(command, timeout_s)

    def until_ended(self, command: str, timeout_s: float) -> None:
        """:raises NotDoneError: if it ends otherwise than with status 0, or not in time"""
        try:
            status = self.running[command].wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotDoneError(f"`salesviews {command}` has not ended after {timeout_s:g} s") from None
        del self.running[command]
        if status:
            raise NotDoneError(f"`salesviews {command}` ended with status {status}:\n{self.tail(command)}")

    def start_broker(self) -> None:
        self.start("broker")
        self.run("topics", "--wait", "300")

    def until(self, condition: Callable[[], bool], command: str, timeout_s: float, every_s: float = 0.25) -> None:
        """Wait for what a running command brings about."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if self.running[command].poll() is not None:
                raise NotDoneError(f"`salesviews {command}` has ended:\n{self.tail(command)}")
            if time.monotonic() > deadline_s:
                raise NotDoneError(
                    f"not done after {timeout_s:g} s; the last that {command} said:\n{self.tail(command)}"
                )
            time.sleep(every_s)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=60) as answer:
            return json.load(answer)

    def events(self) -> Any:
        """Lines of ``/api/events``, as they come."""
        return urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/events", timeout=60)

    def served_positions(self) -> dict[int, int]:
        """The next position of each partition in the API's figures; none while it does not answer."""
        try:
            snapshot = self.get("/api/quality")["snapshot"]
        except OSError:
            return {}
        return {each["partition"]: each["offset"] for each in snapshot["positions"]} if snapshot else {}

    def served(self) -> int:
        """Messages that the API's figures cover."""
        return sum(self.served_positions().values())

    def covered(self) -> int:
        """Messages that the newest snapshot covers."""
        return figures.covered(self.lake)

    def archived(self) -> int:
        """Messages that Bronze has."""
        folder = self.lake / "bronze" / "ventes_stream"
        if not (folder / "_delta_log").exists():
            return 0
        actions = pa.table(DeltaTable(folder).get_add_actions(flatten=True))
        return sum(actions.column("num_records").to_pylist())

    @property
    def bootstrap(self) -> dict[str, str]:
        return {"bootstrap.servers": f"127.0.0.1:{self._kafka_port}"}

    def producer(self) -> Producer:
        return Producer(
            {
                **self.bootstrap,
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.num.messages": 20_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
