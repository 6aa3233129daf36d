"""Between the server and the application: requests go to Flask in a few threads, streams of events stay here.

A thread works on a request only: its body is read before, and its answer is sent after, however slow the client is.
Listeners of events hold none: they are tasks of the event loop.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from a2wsgi.wsgi import WSGIResponder
from flask import Flask

from web import errors
from web.events import EventFeed, Place
from web.routes.events import PLACE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_HEAD_BYTES = 32 * 1024
"""Of the request line and all headers: an address with some hundred filters. What is larger is 431."""

LARGEST_BODY_BYTES = 64 * 1024
"""No request needs more than a small form. What is larger is 413."""

BODY_TIMEOUT_S = 10.0
HEARTBEAT_S = 15.0
"""After so long without an event a listener gets a comment: who is between does not close the connection."""

_NO_LIMIT = 0
"""Of the pieces of an answer that wait for the client."""


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Answering(WSGIResponder):
    """One request in a thread. It leaves the answer for the event loop, and waits neither for that nor for the client.

    Waiting for the loop, as the base does for each piece, would be three changes of threads a request.
    """

    def send(self, message: Any) -> None:
        self.loop.call_soon_threadsafe(self.send_queue.put_nowait, message)


class Gateway:
    """The ASGI application.

    :param threads: in which Flask works
    """

    def __init__(self, app: Flask, feed: EventFeed, threads: int) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(threads, "requests")
        self._feed = feed
        self._listeners: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        feed.follow(self._on_event)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            _check_head(scope)
            body = await _body(scope, receive)
        except _RefusedError as error:
            await _refuse(error, send)
            return

        async def received() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def sent(message: Message) -> None:
            if _is_listener(scope) and message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            elif _is_listener(scope):
                message["more_body"] = True
            await send(message)

        await _Answering(self._app, self._threads, _NO_LIMIT)(scope, received, sent)  # type: ignore[arg-type]
        if _is_listener(scope):
            await self._follow(scope[PLACE], receive, send)

    async def _follow(self, place: Place, receive: Receive, send: Send) -> None:
        """Send each event after a place, until the client leaves or the feed is closed.

        What a client does not read is not heaped up: ``send`` waits, and then it gets what is the newest.
        """
        woken = asyncio.Event()
        is_gone = asyncio.Event()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            is_gone.set()
            woken.set()

        watching = asyncio.create_task(watch())
        self._listeners.add(woken)
        self._feed.listeners += 1
        try:
            while not (is_gone.is_set() or self._feed.is_closed):
                woken.clear()
                text, place = self._feed.after(place)
                if text:
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                elif not await _happens(woken, HEARTBEAT_S):
                    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._feed.listeners -= 1
            self._listeners.discard(woken)
            watching.cancel()

    def _on_event(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all listeners with it
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for woken in self._listeners:
            woken.set()


def _is_listener(scope: Message) -> bool:
    """Whether the application has answered with events."""
    return PLACE in scope and scope["method"] == "GET"


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _check_head(scope: Message) -> None:
    """uvicorn limits what comes in pieces: a head that comes at once may be larger."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > LARGEST_HEAD_BYTES:
        raise _RefusedError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"Address and headers have {size} bytes; at most {LARGEST_HEAD_BYTES} are read.",
        )


async def _body(scope: Message, receive: Receive) -> bytes:
    """The whole body of a request; its length is put into the headers, where it came in chunks."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            has_more = True
            while has_more:
                message = await receive()
                body += message.get("body", b"")
                has_more = message.get("more_body", False)
                if len(body) > LARGEST_BODY_BYTES:
                    raise _RefusedError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has at most {LARGEST_BODY_BYTES} bytes here."
                    )
    except TimeoutError:
        raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"The body did not come within {BODY_TIMEOUT_S:g} s.") from None
    if body:
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
        scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
    return bytes(body)


async def _refuse(refused: _RefusedError, send: Send) -> None:
    """The connection is closed, as the rest of the body is not read."""
    answer = errors.of_status(refused.status, str(refused))
    answer.headers["Connection"] = "close"
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": refused.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": answer.get_data(), "more_body": False})
