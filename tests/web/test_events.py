import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from flask.testing import FlaskClient

from salesviews import lake
from salesviews.errors import BrokerError
from web.answers import Answers
from web.events import KEPT_EVENTS, EventFeed
from web.snapshot import short_name

ALL = [short_name(table) for table in lake.OVERWRITTEN]
PRODUCT = {"produit_nom": "a", "categorie": "c", "jour": date(2025, 12, 22)}


def read(text: str) -> list[dict[str, Any]]:
    """The events of a stream: ``event``, ``id`` and ``data``."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            events.append(fields | {"data": json.loads(fields["data"])})
    return events


def snapshots(text: str) -> list[tuple[int, list[str]]]:
    """Of each snapshot event the id, and what changed."""
    found = [event for event in read(text) if event["event"] == "snapshot"]
    assert [event["id"] for event in found] == [str(event["data"]["id"]) for event in found]
    return [(event["data"]["id"], event["data"]["changed"]) for event in found]


@pytest.fixture
def serve(silver: Any, store: Any, feed: EventFeed) -> Any:  # noqa: ARG001 - it must follow the store by then
    """``serve()`` writes a snapshot and loads it; ``serve("top_produits")`` with that table changed."""

    def write_and_load(*changed: str) -> Any:
        for number, name in enumerate(changed):
            silver.put(name, [PRODUCT | {"ventes_count": silver.lake.open(lake.SNAPSHOTS).version() + number}])
        written = silver.snapshot({0: 10})
        assert store.refresh()
        return written

    return write_and_load


def test_a_listener_is_told_of_each_snapshot_once(feed: EventFeed, serve: Any) -> None:
    """Law: first what is served, with everything changed; then each snapshot once, with what it changed."""
    first = serve()
    text, place = feed.first(None)
    assert text.startswith("retry: ")
    assert snapshots(text) == [(first.id, ALL)]
    assert feed.after(place) == ("", place)
    second, third = serve("top_produits"), serve()
    text, place = feed.after(place)
    assert snapshots(text) == [(second.id, ["top_produits"]), (third.id, [])]
    assert feed.after(place) == ("", place)


def test_who_comes_back_is_told_what_it_missed(feed: EventFeed, serve: Any) -> None:
    """With the id of its last event: nothing where it has the newest, else the newest with all that changed since."""
    first = serve()
    serve("top_produits")
    newest = serve("ventes_par_produit")
    assert snapshots(feed.first(str(first.id))[0]) == [(newest.id, ["ventes_par_produit", "top_produits"])]
    assert snapshots(feed.first(str(newest.id))[0]) == []


def test_who_comes_back_after_a_restart_is_told_what_it_missed(
    serve: Any, store: Any, past: Any, pipeline: Any, clock: Any
) -> None:
    """A server that was started again has not served the listener's snapshot: history knows it."""
    first = serve()
    newest = serve("top_produits")
    restarted = EventFeed(store, past.history, Answers(pipeline, clock), lambda: None)
    restarted.add_snapshot(newest)
    assert snapshots(restarted.first(str(first.id))[0]) == [(newest.id, ["top_produits"])]


@pytest.mark.parametrize("last", ["0", "999", "-1", "x", "", "1" * 50, "\u0661", "1.0"])
def test_who_comes_back_with_what_is_not_known_is_told_all(feed: EventFeed, serve: Any, last: str) -> None:
    """Law: where it is not known what a listener has, everything may have changed."""
    serve()
    newest = serve()
    assert snapshots(feed.first(last)[0]) == [(newest.id, ALL)]


def test_a_listener_that_reads_slowly_gets_the_newest_alone(feed: EventFeed, serve: Any) -> None:
    """Beyond what is kept, one event says all that changed since: nothing heaps up, nothing is left out."""
    serve()
    _, place = feed.first(None)
    serve("top_produits")
    manifest = serve("ventes_par_produit")
    for _ in range(KEPT_EVENTS):
        feed.add_snapshot(manifest := replace(manifest, id=manifest.id + 1))
    text, place = feed.after(place)
    assert snapshots(text) == [(manifest.id, ["ventes_par_produit", "top_produits"])]
    assert feed.after(place) == ("", place)


def test_another_lake_changes_all(feed: EventFeed, serve: Any) -> None:
    """Of a lake that was made anew the ids begin again: an id of the old one says nothing."""
    first = serve()
    newest = serve("top_produits")
    feed.add_snapshot(first)
    assert snapshots(feed.first(str(newest.id))[0]) == [(first.id, ALL)]


def test_the_state_is_told_first_and_when_it_changes(
    feed: EventFeed, serve: Any, kafka: Any, pipeline: Any, home: Any
) -> None:
    """``caught_up``, the failure and the last audit; an unchanged state makes no event."""
    serve()
    kafka.ends = {0: 10}
    pipeline.look()
    text, place = feed.first(None)
    (state,) = [event["data"] for event in read(text) if event["event"] == "state"]
    assert (state["caught_up"], state["failure"], state["audit"]) == (True, None, None)
    feed.look()
    assert feed.after(place)[0] == ""

    kafka.ends = {0: 12}
    pipeline.look()
    feed.look()
    text, place = feed.after(place)
    (event,) = read(text)
    assert (event["event"], event["data"]["caught_up"], event["data"]["lag_messages"]) == ("state", False, 2)
    assert "id" not in event

    kafka.error = BrokerError("away")
    pipeline.look()
    home.mkdir()
    (home / "audit.json").write_text('{"holds": false, "audited_at": "2025-12-22T15:00:00Z"}', encoding="utf-8")
    feed.look()
    (event,) = read(feed.after(place)[0])
    assert event["data"]["caught_up"] is None
    assert event["data"]["audit"]["holds"] is False


def test_before_the_first_snapshot_there_is_a_state(feed: EventFeed, serve: Any) -> None:
    """A listener may come before there are figures, and is told when there are."""
    text, place = feed.first(None)
    assert [(event["event"], event["data"]["snapshot"]) for event in read(text)] == [("state", None)]
    first = serve()
    assert snapshots(feed.after(place)[0]) == [(first.id, ALL)]


def test_without_a_gateway_the_answer_ends_after_the_first_events(client: FlaskClient, serve: Any) -> None:
    """It is a stream that ends: a listener comes back, with the id that it has."""
    newest = serve()
    response = client.get("/api/events")
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert snapshots(response.text) == [(newest.id, ALL)]
    assert snapshots(client.get("/api/events", headers={"Last-Event-ID": str(newest.id)}).text) == []
    assert client.get("/api/events?limit=1").json["error"]["parameter"] == "limit"
