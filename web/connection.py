"""A client's connection: uvicorn's, which also ends those that send their requests too slowly."""

import asyncio
import sys
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from web import errors
from web.routes.events import PLACE

HEAD_TIMEOUT_S = 10.0
"""What a client has to send the head of a request, from its first byte; on a new connection, from the connection."""


class Connection(H11Protocol):
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._limit is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """What a listener of events has not read is not waited for."""
        if self._is_answering() and PLACE in self.scope and self.flow.write_paused:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What is no request is refused in the one form of an error; called while the reason is handled."""
        status = HTTPStatus(getattr(sys.exc_info()[1], "error_status_hint", HTTPStatus.BAD_REQUEST))
        answer = errors.of_status(status, msg)
        answer.headers["Connection"] = "close"
        head = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + answer.get_data())
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._limit = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
