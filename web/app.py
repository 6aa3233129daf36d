"""The Flask application, put together from what it is given."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask, Response

from salesviews.lake import Lake
from web import compression, errors, exposition
from web.access import Access, open_to_all
from web.answers import Answers
from web.events import EventFeed
from web.exposition import State
from web.past import PastSnapshots
from web.pipeline import PipelineWatch
from web.questions import Questions
from web.reading import LakeReader
from web.routes import (
    across,
    affinity,
    anomalies,
    customers,
    documentation,
    events,
    lineage,
    login,
    metrics,
    monthly_sales,
    operations,
    page,
    quality,
    rankings,
    rejects,
    sales,
    shares,
    snapshots,
    unique_customers,
    views,
    weekday_hours,
)
from web.rows import Rows
from web.snapshot import SnapshotStore

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without it a form would not say that it is one of this server
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(
    store: SnapshotStore,
    past: PastSnapshots,
    pipeline: PipelineWatch,
    clock: Callable[[], datetime],
    last_audit: Callable[[], dict[str, Any] | None],
    source: Lake,
    feed: EventFeed | None = None,
    access: Access | None = None,
    reader: LakeReader | None = None,
) -> Flask:
    """The application. It starts nothing: ``store`` and ``pipeline`` are started and closed by who made them.

    :param past: the earlier snapshots of the same lake
    :param clock: now, in UTC
    :param last_audit: the result of the last `salesviews audit`, None if there was none
    :param source: the lake that ``store`` loads its snapshots from
    :param feed: what listeners of ``/api/events`` are told; started and closed like ``store``; default: one
        that nobody starts, which tells of snapshots and not of what else changes
    :param access: who may ask for what; default: the rules of a server on the loopback without a token, to which no
        other name of a host is known
    :param reader: of single sales and messages; None: one with the usual bounds
    """
    app = Flask(__name__)
    answers = Answers(pipeline, clock)
    feed = feed or EventFeed(store, past.history, answers, last_audit)
    access = access or Access("", "localhost")
    questions = Questions(store, past)
    rows = Rows(questions, answers)
    registry = exposition.register(app, State(store, pipeline, feed, source, clock, last_audit))
    reader = reader or LakeReader(source)
    app.register_blueprint(sales.routes(rows, clock))
    app.register_blueprint(views.routes(questions, answers, rows))
    app.register_blueprint(across.routes(rows))
    app.register_blueprint(monthly_sales.routes(rows))
    app.register_blueprint(weekday_hours.routes(rows))
    app.register_blueprint(shares.routes(rows))
    app.register_blueprint(rankings.routes(rows))
    app.register_blueprint(anomalies.routes(rows))
    app.register_blueprint(customers.routes(rows, reader))
    app.register_blueprint(unique_customers.routes(rows, reader))
    app.register_blueprint(affinity.routes(rows, reader))
    app.register_blueprint(rejects.routes(rows, reader))
    app.register_blueprint(quality.routes(questions, answers))
    app.register_blueprint(snapshots.routes(store, past.history, answers))
    app.register_blueprint(lineage.routes(source, questions, answers))
    app.register_blueprint(operations.routes(store, pipeline, answers, clock, last_audit))
    app.register_blueprint(events.routes(feed))
    app.register_blueprint(metrics.routes(registry))
    app.register_blueprint(page.routes(access))
    app.register_blueprint(login.routes(access))
    app.register_blueprint(documentation.routes())
    open_to_all(app.view_functions["static"])
    errors.register(app)
    compression.register(app)
    access.guard(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers[name] = value
        # Files under static/ are kept by browsers, and asked for anew by their ETag; figures are never kept.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
