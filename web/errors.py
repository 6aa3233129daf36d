"""The one form of an error: ``{"error": {"status", "code", "message", "parameter"?}}``, under every path.

A client never sees a traceback: an unexpected error is logged with it, and answered with 500.
"""

import difflib
import logging
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from salesviews.errors import ExpiredError, LakeError, LineageError, ParameterError, UnknownSnapshotError
from salesviews.maintenance import history
from web import endpoints
from web.answers import json_response
from web.deadlines import TooSlowError
from web.formats import UnofferedFormatError
from web.grouping import NoViewError
from web.past import BusyError, NotInSnapshotError
from web.snapshot import NoSnapshotError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""What a client is told to wait where there is no snapshot yet, or where too many wait."""


def response(status: int, code: str, message: str, parameter: str | None = None) -> Response:
    """:param code: the kind of error, for programs; stays the same where a message is worded anew"""
    error = {"status": status, "code": code, "message": message}
    if parameter is not None:
        error["parameter"] = parameter
    return json_response({"error": error}, status)


def of_status(status: HTTPStatus, message: str) -> Response:
    """Where the status says which kind of error it is."""
    return response(status.value, status.phrase.lower().replace(" ", "_"), message)


def unready(code: str, message: str) -> Response:
    """503, to be tried again soon."""
    answer = response(503, code, message)
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def register(app: Flask) -> None:
    """Make every error of an application answer in this form."""

    @app.errorhandler(ParameterError)
    def bad_parameter(error: ParameterError) -> Response:
        return response(400, "bad_parameter", str(error), error.parameter)

    @app.errorhandler(UnofferedFormatError)
    def unoffered_format(error: UnofferedFormatError) -> Response:
        return response(406, "not_acceptable", str(error))

    @app.errorhandler(NoViewError)
    def no_view(error: NoViewError) -> Response:
        return response(422, "no_view", str(error))

    @app.errorhandler(NoSnapshotError)
    def no_snapshot(error: NoSnapshotError) -> Response:
        return unready("no_snapshot", str(error))

    @app.errorhandler(ExpiredError)
    def expired(error: ExpiredError) -> Response:
        return response(410, "snapshot_expired", str(error), history.PARAMETER)

    @app.errorhandler(UnknownSnapshotError)
    def unknown_snapshot(error: UnknownSnapshotError) -> Response:
        return response(404, "no_such_snapshot", str(error), history.PARAMETER)

    @app.errorhandler(NotInSnapshotError)
    def not_in_snapshot(error: NotInSnapshotError) -> Response:
        return response(404, "not_in_snapshot", str(error), history.PARAMETER)

    @app.errorhandler(TooSlowError)
    def too_slow(error: TooSlowError) -> Response:
        return response(503, "too_slow", str(error))

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> Response:
        return unready("busy", str(error))

    @app.errorhandler(LineageError)
    def too_much(error: LineageError) -> Response:
        return response(503, "too_much", str(error))

    @app.errorhandler(LakeError)
    def lake_unreadable(error: LakeError) -> Response:
        logger.error("%s %s failed: %s", request.method, request.full_path.rstrip("?"), error)
        return response(503, "lake_unreadable", str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        code = error.name.lower().replace(" ", "_")
        if status == 404:
            near = difflib.get_close_matches(request.path, endpoints.of(app), 3)
            hint = f" Close to it: {', '.join(near)}." if near else ""
            answer = response(status, code, f"There is nothing at {request.path}.{hint}")
        elif status == 405:
            answer = response(status, code, f"{request.path} does not take {request.method}.")
        else:
            answer = response(status, code, error.description or error.name)
        for name, value in error.get_headers(request.environ):
            if name not in ("Content-Type", "Content-Length"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        logger.error("%s %s failed.", request.method, request.full_path.rstrip("?"), exc_info=error)
        return response(
            500, "internal_server_error", "The server failed on this request. Its log says why, at this moment."
        )
