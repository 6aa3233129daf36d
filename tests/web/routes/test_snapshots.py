from typing import Any

import pytest
from flask.testing import FlaskClient


def listed(client: FlaskClient, query: str = "") -> Any:
    answer = client.get(f"/api/snapshots{query}")
    assert answer.status_code == 200, answer.text
    return answer.json["data"]


def test_before_the_first(client: FlaskClient) -> None:
    """Law: an empty system has an empty list, and no snapshot that is served."""
    assert listed(client) == {"snapshots": [], "total": 0, "next": None}
    assert client.get("/api/snapshots").json["snapshot"] is None


def test_the_newest_comes_first(client: FlaskClient, silver: Any, store: Any, clock: Any) -> None:
    """Law: each with what tells it from the others; the answer's own snapshot is the one that is served."""
    silver.snapshot({1: 5, 0: 7})
    store.refresh()
    clock.advance(minutes=1)
    silver.snapshot({0: 8})
    second, first = listed(client)["snapshots"]
    assert first == {
        "id": 1,
        "created_at": "2025-12-22T15:04:05.123456Z",
        "generation": 0,
        "sequence": 12,
        "caught_up": True,
        "positions": [
            {"topic": "ventes", "topic_id": "topic-1", "partition": 0, "offset": 7},
            {"topic": "ventes", "topic_id": "topic-1", "partition": 1, "offset": 5},
        ],
    }
    assert (second["id"], second["created_at"]) == (2, "2025-12-22T15:05:05.123456Z")
    assert client.get("/api/snapshots").json["snapshot"]["id"] == 1


def test_pages_join(client: FlaskClient, silver: Any, clock: Any) -> None:
    """Law: following ``next`` gives every snapshot once, and each can be asked for."""
    for number in range(7):
        silver.snapshot({0: number})
        clock.advance(seconds=3)
    seen, query = [], "?limit=3"
    while True:
        page = listed(client, query)
        assert page["total"] == 7
        seen += [each["id"] for each in page["snapshots"]]
        if page["next"] is None:
            break
        query = f"?limit=3&before={page['next']}"
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    for identity in seen:
        assert client.get(f"/api/quality?as_of={identity}").json["snapshot"]["id"] == identity


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "before=0", "before=x", "as_of=1", "limit=1&limit=2"])
def test_what_cannot_be_asked(client: FlaskClient, query: str) -> None:
    """Law: it is refused, with the parameter's name."""
    answer = client.get(f"/api/snapshots?{query}")
    assert (answer.status_code, answer.json["error"]["parameter"]) == (400, query.partition("=")[0])
