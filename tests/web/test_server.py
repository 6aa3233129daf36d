import asyncio
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

import loops
import psutil
import pytest
from programs import PATIENCE_S

from salesviews import settings as settings_module
from salesviews.settings import Settings
from web import gateway, server


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
        with urllib.request.urlopen(f"{settings.url}{path}", timeout=PATIENCE_S) as response:
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
    assert program.wait() == 0
    assert "Traceback" not in program.output


def test_a_signal_lets_a_request_finish(
    alone: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """A client that holds its connection open does not hold the server."""
    program = start_process("web", settings=alone)
    eventually(lambda: f"Listening on {alone.url}\n" in program.output, what="the address is printed")
    connection = http.client.HTTPConnection(alone.host, alone.port, timeout=PATIENCE_S)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    program.popen.terminate()
    assert program.wait() == 0
    connection.close()


def test_a_taken_port_is_an_error_that_names_it(alone: Settings, start_process: Callable[..., Any]) -> None:
    """It says which address, and what to do, without a traceback."""
    with socket.socket() as taken:
        taken.bind((alone.host, alone.port))
        taken.listen()
        program = start_process("web", settings=alone)
        assert program.wait() == 1
    assert str(alone.port) in program.output
    assert "SALESVIEWS_PORT" in program.output
    assert "Traceback" not in program.output


@pytest.fixture
def with_figures(silver: Any, free_port: Callable[[], int]) -> Settings:
    """Settings of an instance with a first snapshot, and without a broker."""
    silver.snapshot()
    return settings_module.read(
        {
            "SALESVIEWS_HOME": str(Path(silver.lake.root).parent),
            "SALESVIEWS_LAKE": silver.lake.root,
            "SALESVIEWS_PORT": str(free_port()),
            "SALESVIEWS_BROKER": f"127.0.0.1:{free_port()}",
        }
    )


def test_many_clients_at_once(
    with_figures: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """More clients than threads are all answered."""
    settings = with_figures
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
        connection = http.client.HTTPConnection(alone.host, alone.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("GET", f"/api/sales?pays={'x' * (gateway.LARGEST_HEAD_BYTES // 2)}") == 503
    assert status("GET", f"/api/sales?pays={'x' * gateway.LARGEST_HEAD_BYTES}") == 431
    assert status("POST", "/api/sales", b"x" * gateway.LARGEST_BODY_BYTES) == 405
    assert status("POST", "/api/sales", b"x" * (gateway.LARGEST_BODY_BYTES + 1)) == 413
    assert status("GET", "/healthz") == 200


LISTENERS = 500
SNAPSHOTS = 3


async def open_stream(settings: Settings) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A listener that has read the first events: the state is the last of them."""
    reader, writer = await asyncio.open_connection(settings.host, settings.port)
    writer.write(f"GET /api/events HTTP/1.1\r\nHost: {settings.host}:{settings.port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readuntil(b"event: state")
    return reader, writer


def test_many_listeners_take_no_thread_each(
    silver: Any, with_figures: Settings, start_process: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Law: each of 500 listeners gets each snapshot once, none takes a thread, those who left cost nothing.

    A signal ends all streams, as answers that are complete, and the process with status 0.
    """
    settings = with_figures
    program = start_process("web", settings=settings)
    eventually(lambda: f"Listening on {settings.url}\n" in program.output, what="the address is printed")
    eventually(lambda: ask(settings, "/api/quality")[0] == 200, what="the snapshot is served")
    process = psutil.Process(program.pid)

    async def listen() -> None:
        threads = process.num_threads() + 2 * server.THREADS  # those that libraries and the pool start when needed
        streams = await asyncio.gather(*(open_stream(settings) for _ in range(LISTENERS)))
        leaving = await asyncio.gather(*(open_stream(settings) for _ in range(20)))
        for _, writer in leaving:
            writer.transport.abort()
        for _ in range(SNAPSHOTS):
            written = await asyncio.to_thread(silver.snapshot)
            marker = f"id: {written.id}\n".encode()
            async with asyncio.timeout(PATIENCE_S):
                before = await asyncio.gather(*(reader.readuntil(marker) for reader, _ in streams))
            # Between two snapshots in a row no listener was told of one: each came once.
            assert all(text.count(b"id: ") == 1 for text in before)
        assert process.num_threads() <= threads
        program.popen.terminate()
        async with asyncio.timeout(PATIENCE_S):
            rest = await asyncio.gather(*(reader.read() for reader, _ in streams))
        assert all(text.endswith(b"\r\n0\r\n\r\n") and b"id: " not in text for text in rest)
        for _, writer in streams:
            writer.close()

    loops.run(listen())
    assert program.wait() == 0
    assert "Traceback" not in program.output
