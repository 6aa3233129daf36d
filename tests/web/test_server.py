import http.client
import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salesviews import settings as settings_module
from salesviews.settings import Settings
from web import server


@pytest.fixture
def alone(tmp_path: Path, free_port: Callable[[], int]) -> Settings:
    """Settings of an instance without a broker."""
    return settings_module.read(
        {
            "SALESVIEWS_HOME": str(tmp_path / "home"),
            "SALESVIEWS_PORT": str(free_port()),
            "SALESVIEWS_BROKER": f"127.0.0.1:{free_port()}",
        }
    )


def ask(settings: Settings, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{settings.url}{path}", timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(
    alone: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any], number: signal.Signals
) -> None:
    """It prints its address; without lake and Kafka it is alive and not ready; a signal ends it cleanly."""
    program = start_process("web", settings=alone)
    eventually(lambda: f"Listening on {alone.url}\n" in program.output, what="the address is printed")
    assert ask(alone, "/healthz") == (200, {"data": "serving", "snapshot": None})
    assert ask(alone, "/readyz")[0] == 503
    assert ask(alone, "/api/quality")[0] == 503
    program.popen.send_signal(number)
    assert program.popen.wait(15) == 0
    assert "Traceback" not in program.output


def test_a_signal_lets_a_request_finish(
    alone: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """A client that holds its connection open does not hold the server."""
    program = start_process("web", settings=alone)
    eventually(lambda: f"Listening on {alone.url}\n" in program.output, what="the address is printed")
    connection = http.client.HTTPConnection(alone.host, alone.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    program.popen.terminate()
    assert program.popen.wait(15) == 0
    connection.close()


def test_a_taken_port_is_an_error_that_names_it(alone: Settings, start_process: Callable[..., Any]) -> None:
    """It says which address, and what to do, without a traceback."""
    with socket.socket() as taken:
        taken.bind((alone.host, alone.port))
        taken.listen()
        program = start_process("web", settings=alone)
        assert program.popen.wait(60) == 1
    assert str(alone.port) in program.output
    assert "SALESVIEWS_PORT" in program.output
    assert "Traceback" not in program.output


def test_many_clients_at_once(
    silver: Any, free_port: Callable[[], int], start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """More clients than threads are all answered."""
    silver.snapshot()
    settings = settings_module.read(
        {
            "SALESVIEWS_HOME": str(Path(silver.lake.root).parent),
            "SALESVIEWS_LAKE": silver.lake.root,
            "SALESVIEWS_PORT": str(free_port()),
            "SALESVIEWS_BROKER": f"127.0.0.1:{free_port()}",
        }
    )
    program = start_process("web", settings=settings)
    eventually(lambda: f"Listening on {settings.url}\n" in program.output, what="the address is printed")
    eventually(lambda: ask(settings, "/api/quality")[0] == 200, what="the snapshot is served")
    answers: list[int] = []

    def client() -> None:
        answers.extend(ask(settings, "/api/hourly_sales")[0] for _ in range(5))

    clients = [threading.Thread(target=client) for _ in range(4 * server.THREADS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert answers == [200] * 5 * len(clients)


def test_a_request_that_is_too_large_is_refused(
    alone: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Law: neither an address nor a body is read beyond its limit, and the server goes on."""
    program = start_process("web", settings=alone)
    eventually(lambda: f"Listening on {alone.url}\n" in program.output, what="the address is printed")

    def status(method: str, path: str, body: bytes = b"") -> int:
        connection = http.client.HTTPConnection(alone.host, alone.port, timeout=10)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("GET", f"/api/sales?pays={'x' * (server.LARGEST_HEADER_BYTES // 2)}") == 503
    assert status("GET", f"/api/sales?pays={'x' * server.LARGEST_HEADER_BYTES}") == 431
    assert status("POST", "/api/sales", b"x" * (server.LARGEST_BODY_BYTES - 1)) == 405
    assert status("POST", "/api/sales", b"x" * server.LARGEST_BODY_BYTES) == 413
    assert status("GET", "/healthz") == 200
