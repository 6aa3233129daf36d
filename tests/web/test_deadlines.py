import time
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from flask import Blueprint, Flask

from web import deadlines, snapshot
from web.answers import Answers
from web.deadlines import Deadlines, TooSlowError
from web.endpoints import Column, Endpoint
from web.questions import Questions
from web.rows import Query, Rows

ENDLESS = "SELECT sum(a.range * b.range)::BIGINT AS n FROM range(10000000) AS a, range(10000000) AS b"


def test_a_query_that_takes_too_long_is_ended() -> None:
    """Law: it is ended; its neighbours that have time left are not, and the cursor can be used again."""
    now_s = [0.0]
    limits = Deadlines(limit_s=10, elapsed_s=lambda: now_s[0])

    def run(cursor: duckdb.DuckDBPyConnection) -> None:
        with limits.hold(cursor):
            now_s[0] = 11.0
            cursor.execute(ENDLESS).fetchall()

    with duckdb.connect() as database:
        with database.cursor() as slow, pytest.raises(TooSlowError):
            run(slow)
        with database.cursor() as quick, limits.hold(quick):
            assert quick.execute("SELECT 1").fetchall() == [(1,)]


def test_time_is_counted_from_when_a_cursor_is_held() -> None:
    """Law: what began later ends later."""
    now_s = [0.0]
    limits = Deadlines(limit_s=10, elapsed_s=lambda: now_s[0])

    with duckdb.connect() as database, database.cursor() as early, database.cursor() as late:

        def run_late() -> None:
            with limits.hold(late):
                now_s[0] = 11.0
                time.sleep(3 * deadlines.LOOK_INTERVAL_S)  # for the thread, which has nothing to do with late
                assert late.execute("SELECT count(*) FROM range(100000000)").fetchall() == [(100_000_000,)]

        def run_early() -> None:
            with limits.hold(early):
                now_s[0] = 9.0
                run_late()
                early.execute(ENDLESS).fetchall()

        with pytest.raises(TooSlowError):
            run_early()


def test_it_is_a_503_that_says_what_to_do(
    app: Flask, silver: Any, store: Any, past: Any, pipeline: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: the client is told that it asked for too much; the next request is answered."""
    silver.snapshot()
    store.refresh()
    blueprint = Blueprint("endless", __name__)

    @Rows(Questions(store, past), Answers(pipeline, clock)).get(
        blueprint, Endpoint("/api/endless", "no end", columns=(Column("n", pa.int64(), "a number"),))
    )
    def route(_values: Any, _snapshot: Any) -> Query:
        return Query(ENDLESS, "n")

    app.register_blueprint(blueprint)
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "DEADLINES", Deadlines(limit_s=0.2))
        for path in ("/api/endless", "/api/endless?format=arrow"):
            response = app.test_client().get(path)
            assert (response.status_code, response.json["error"]["code"]) == (503, "too_slow")
    assert app.test_client().get("/api/quality").status_code == 200
