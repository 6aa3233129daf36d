"""Server-sent events: the first of them. ``web.gateway`` keeps the answer open, and sends those that follow.

Where nothing does, the answer ends here, and a listener comes back after its ``retry``: it still misses nothing.
"""

from flask import Blueprint, Response, request

from web import endpoints, errors, parameters
from web.endpoints import Endpoint
from web.events import LISTENERS, EventFeed

PLACE = "salesviews.place"
"""Key of the ASGI scope under which the place of a listener is left to who keeps its answer open."""

EVENTS = Endpoint(
    "/api/events",
    "what changes, as server-sent events, until the client leaves",
    media="text/event-stream",
    doc="`snapshot`: one is served; its id, age, `caught_up`, and the views and roll-ups that `changed`. `state`: "
    "`caught_up`, `failure` or `audit` changed. Who comes back with `Last-Event-ID` is told what it missed.",
    has_as_of=False,
    failures={503: "there are too many listeners: come back after `Retry-After`"},
)


def routes(feed: EventFeed) -> Blueprint:
    events = Blueprint("events", __name__)

    @endpoints.get(events, EVENTS)
    def listen() -> Response:
        parameters.read((), request.args)
        if feed.listeners >= LISTENERS:
            return errors.unready("busy", f"{LISTENERS} listeners are there already, and no more at once: ask again.")
        text, place = feed.first(request.headers.get("Last-Event-ID"))
        request.environ.get("asgi.scope", {})[PLACE] = place
        # nginx would hold the events back until its buffer is full.
        return Response(text, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return events
