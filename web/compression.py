"""Compression of answers, as far as a client takes it.

Only data is compressed, and the styles and scripts of the page: none of them holds a secret whose length could tell
something. What else is sent as it comes (a stream, a picture) stays as it is.
"""

from http import HTTPStatus

import pyarrow as pa
from flask import Flask, Response, request

from web import formats

LEAST_BYTES = 1400
"""What fits into one packet gains nothing."""

_CODECS = {"zstd": ("zstd", 3), "br": ("brotli", 4), "gzip": ("gzip", 5)}
"""By their names in HTTP; of those that a client likes alike, the first, which is the fastest."""

_COMPRESSED = frozenset(each.mimetype for each in formats.FORMATS if not each.is_compact)
_COMPRESSED_FILES = frozenset(("text/css", "text/javascript"))


def register(app: Flask) -> None:
    """Compress the answers of an application."""

    @app.after_request
    def compress(response: Response) -> Response:
        is_file = request.endpoint == "static" and response.mimetype in _COMPRESSED_FILES
        if is_file and response.status_code == HTTPStatus.OK:
            # Compressed it has other bytes: the same file, but not to be taken up where a transfer broke off.
            response.direct_passthrough = False
            response.set_data(response.get_data())
            response.set_etag(response.get_etag()[0] or "", weak=True)
        elif response.mimetype not in _COMPRESSED or response.is_streamed or response.direct_passthrough:
            return response
        response.vary.add("Accept-Encoding")
        if response.content_length is None or response.content_length < LEAST_BYTES:
            return response
        # Without the header werkzeug gives no preference, and the answer goes out as it is.
        name = request.accept_encodings.best_match(_CODECS)
        if name is None or request.accept_encodings[name] < request.accept_encodings["identity"]:
            return response
        # A codec of its own: one that threads share gives wrong bytes, or ends the process.
        response.set_data(pa.Codec(*_CODECS[name]).compress(response.get_data(), asbytes=True))
        response.headers["Content-Encoding"] = name
        return response
