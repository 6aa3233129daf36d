"""The server in this process, over an application that a test makes, with limits that a test sets."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import loops
import pytest
from flask import Flask, request
from programs import PATIENCE_S

from web import connection, gateway, server
from web.events import KEPT_EVENTS, EventFeed
from web.gateway import Gateway
from web.routes.events import PLACE

THREADS = 2


class Served:
    """A running server, and the one request of its application that is held up."""

    def __init__(self, feed: EventFeed) -> None:
        self.release = threading.Event()
        self.is_working = threading.Event()
        app = Flask("slow")

        @app.get("/slow")
        def slow() -> str:
            self.is_working.set()
            assert self.release.wait(PATIENCE_S)
            return "done"

        @app.get("/large")
        def large() -> bytes:
            return b"x" * 30_000_000

        @app.post("/length")
        def length() -> str:
            return f"{len(request.get_data())} {request.headers.get('Content-Length')}"

        listener = server._listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self._server = server._Server(Gateway(app, feed, THREADS), feed)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([listener])))
        self._thread.start()

    def stop(self) -> None:
        """As a signal does."""
        self._server.should_exit = True

    def join(self) -> bool:
        """Whether it has ended."""
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        opened = self.connect()
        opened.request(method, path, body)
        answer = opened.getresponse()
        found = answer.status, answer.read()
        opened.close()
        return found

    @contextmanager
    def raw(self, sent: bytes) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), 30) as client:
            client.sendall(sent)
            yield client


@pytest.fixture
def served(feed: EventFeed) -> Iterator[Served]:
    running = Served(feed)
    yield running
    running.release.set()
    running.stop()
    assert running.join()


def test_a_request_under_way_is_finished(served: Served) -> None:
    """Law: a signal ends the server when the requests that it had taken are answered, and takes no more."""
    client = served.connect()
    client.request("GET", "/slow")
    assert served.is_working.wait(PATIENCE_S)
    served.stop()
    served._thread.join(0.5)
    assert served._thread.is_alive()
    served.release.set()
    assert client.getresponse().read() == b"done"
    assert served.join()
    with pytest.raises(OSError, match="refused"):
        served.ask("GET", "/length")


def test_clients_that_do_not_read_hold_no_thread(served: Served) -> None:
    """More slow readers than threads: everybody else is answered at once."""
    slow = [socket.create_connection(("127.0.0.1", served.port), 30) for _ in range(THREADS + 2)]
    for client in slow:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    assert served.ask("POST", "/length", b"abc") == (200, b"3 3")
    for client in slow:
        client.close()


def test_a_body_has_a_limit(served: Served) -> None:
    """Whether its length is said before, or it comes in chunks; below the limit both forms reach the application."""
    assert served.ask("POST", "/length", b"x" * gateway.LARGEST_BODY_BYTES)[0] == 200
    assert served.ask("POST", "/length", iter([b"ab", b"c"])) == (200, b"3 3")
    status, answer = served.ask("POST", "/length", b"x" * (gateway.LARGEST_BODY_BYTES + 1))
    assert status == 413
    assert b'"code":"request_entity_too_large"' in answer


def test_a_head_has_a_limit(served: Served) -> None:
    """Beyond it the server does not go on reading."""
    with served.raw(b"GET /length HTTP/1.1\r\nX: " + b"x" * (gateway.LARGEST_HEAD_BYTES + 1)) as client:
        answer = client.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 431")
        assert b'"code":"request_header_fields_too_large"' in answer


def test_what_is_no_request_is_refused_in_the_one_form(served: Served) -> None:
    """A program finds status, code and message in the same place as ever."""
    with served.raw(b"what is this\r\n\r\n") as client:
        answer = client.recv(10_000)
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
    ("limit", "sent", "answered"),
    [
        ((connection, "HEAD_TIMEOUT_S"), b"", b""),
        ((connection, "HEAD_TIMEOUT_S"), b"GET /length HTT", b""),
        (
            (gateway, "BODY_TIMEOUT_S"),
            b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
            b"HTTP/1.1 408",
        ),
    ],
)
def test_a_request_that_comes_too_slowly_is_ended(
    served: Served, monkeypatch: pytest.MonkeyPatch, limit: tuple[Any, str], sent: bytes, answered: bytes
) -> None:
    """Law: a connection on which no whole request comes is closed; it never holds a thread."""
    monkeypatch.setattr(*limit, 0.2)
    with served.raw(sent) as client:
        try:
            found = client.recv(12)
        except ConnectionResetError:
            found = b""
        assert found == answered


def test_a_second_request_may_take_its_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a head is no limit of an answer, nor of the pause after it."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    client = served.connect()
    client.request("GET", "/slow")
    assert served.is_working.wait(PATIENCE_S)
    threading.Timer(0.5, served.release.set).start()
    assert client.getresponse().read() == b"done"
    threading.Event().wait(0.5)
    client.request("GET", "/slow")
    assert client.getresponse().read() == b"done"


def test_a_client_that_takes_nothing_is_cut_off(served: Served) -> None:
    """Law: each connection has the limit after which the system closes it, as what it was sent is not taken."""
    client = served.connect()
    client.request("GET", "/slow")
    assert served.is_working.wait(PATIENCE_S)
    [held] = served._server.server_state.connections
    accepted = held.transport.get_extra_info("socket")  # type: ignore[union-attr]
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == server.UNREAD_MS


def test_a_listener_that_does_not_read_holds_up_nobody(feed: EventFeed, silver: Any, store: Any) -> None:
    """Others get each event meanwhile; when it reads again, it gets the newest snapshot alone."""
    manifest = silver.snapshot()
    store.refresh()

    async def listen() -> tuple[list[bytes], list[bytes]]:
        nonlocal manifest
        app: Callable[..., Any] = Gateway(Flask("none"), feed, 1)
        reads = asyncio.Event()
        received: dict[str, list[bytes]] = {"slow": [], "prompt": []}

        async def follow(name: str) -> None:
            async def send(message: Any) -> None:
                if name == "slow":
                    await reads.wait()
                received[name].append(message["body"])

            never = asyncio.Event()

            async def receive() -> Any:
                await never.wait()

            app._loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
            await app._follow(feed.first(None)[1], receive, send)  # type: ignore[attr-defined]

        tasks = [asyncio.create_task(follow(name)) for name in received]
        while feed.listeners < len(tasks):
            await asyncio.sleep(0)
        for number in range(2 * KEPT_EVENTS):
            manifest = replace(manifest, id=manifest.id + 1)
            feed.add_snapshot(manifest)
            while len(received["prompt"]) <= number:
                await asyncio.sleep(0)
        assert received["slow"] == []
        reads.set()
        while len(received["slow"]) < 2:
            await asyncio.sleep(0)
        feed.close()
        await asyncio.gather(*tasks)
        return received["slow"], received["prompt"]

    slow, prompt = loops.run(listen())
    assert len(prompt) == 2 * KEPT_EVENTS + 1
    assert len(slow) == 3  # the first event, the newest, and the end
    assert f"id: {manifest.id}\n".encode() in slow[1]
    assert feed.listeners == 0


def test_the_place_is_left_by_the_route(app: Flask, feed: EventFeed, silver: Any, store: Any) -> None:
    """The route says from where the gateway goes on; without a gateway it does without."""
    silver.snapshot()
    store.refresh()
    scope: dict[str, Any] = {}
    app.test_client().get("/api/events", environ_base={"asgi.scope": scope})
    assert feed.after(scope[PLACE]) == ("", scope[PLACE])
