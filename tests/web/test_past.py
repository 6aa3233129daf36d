import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from deltalake import write_deltalake
from flask.testing import FlaskClient

from salesviews import lake, maintenance
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.tables import files
from sinks.appends import writer_properties
from web import past as past_module
from web.past import BusyError, PastSnapshots

RETENTION = Retention(days=7, step_s=600)
START = datetime(2025, 12, 22, 15, 4, 5, 123456, tzinfo=UTC)
QUESTIONS = (
    "/api/top_products",
    "/api/top_products?limit=2",
    "/api/aggregated_sales",
    "/api/aggregated_sales?month=12&pays=France&pays=C%C3%B4te%20d%27Ivoire",
    "/api/hourly_sales",
    "/api/hourly_sales?date=2025-12-22",
    "/api/hourly_sales?from=2025-11-30T22:00:00Z&to=2025-12-01",
    "/api/quality",
)


def put_sales(silver: Any, number: int) -> None:
    """Figures that differ with the number, in every table that is asked about."""
    amounts = [Decimal(f"{number}.{number:02}"), Decimal("90071992547409.93")]
    products = [("Café «fort»", "Épicerie"), ("Téléphone", "Électronique")]
    hours = [datetime(2025, 11, 30, 23, tzinfo=UTC), datetime(2025, 12, 22, number % 24, tzinfo=UTC)]
    silver.put(
        "top_produits",
        [
            {"produit_nom": name, "categorie": kind, "ventes_count": number, "revenue_total": amount}
            | {"quantite_moyenne": number / 3}
            for (name, kind), amount in zip(products, amounts, strict=True)
        ],
    )
    silver.put(
        "ventes_aggreges",
        [
            {"produit_nom": name, "categorie": kind, "pays": pays, "annee": 2025, "mois": mois}
            | {"nombre_ventes": number, "chiffre_affaires": amount, "panier_moyen": amount, "clients_uniques": number}
            for (name, kind), amount in zip(products, amounts, strict=True)
            for pays in ("France", "Côte d'Ivoire")
            for mois in (11, 12)
        ],
    )
    silver.put("hourly_sales", [{"heure": at, "ventes_count": number, "revenue_total": amounts[0]} for at in hours])
    silver.put("qualite", [{"motif": motif, "heure": hours[0], "messages": number} for motif in ("valide", "doublon")])


def data_of(client: FlaskClient, question: str) -> bytes:
    answer = client.get(question)
    assert answer.status_code == 200, answer.text
    return answer.data.partition(b',"snapshot":')[0]


def as_of(question: str, when: object) -> str:
    return f"{question}{'&' if '?' in question else '?'}as_of={quote(str(when))}"


def maintained(silver: Any, clock: Any, retention: Retention = RETENTION) -> None:
    """A maintenance for which every file is as old as the clock says."""
    for path in Path(silver.lake.root).rglob("*"):
        os.utime(path, (clock().timestamp(),) * 2)
    clock.advance(hours=2)
    assert maintenance.run(silver.lake, maintenance.Options(retention), writer_properties, clock).is_done


@pytest.fixture
def answered(silver: Any, store: Any, client: FlaskClient, clock: Any) -> dict[int, dict[str, bytes]]:
    """What was answered live while each of six snapshots, a quarter of an hour apart, was the one that is served."""
    live = {}
    for number in range(1, 7):
        put_sales(silver, number)
        named = silver.snapshot({0: 10 * number})
        assert store.refresh()
        live[named.id] = {question: data_of(client, question) for question in QUESTIONS}
        clock.advance(minutes=15)
    assert len({answers["/api/hourly_sales"] for answers in live.values()}) == 6
    return live


@pytest.mark.parametrize("is_maintained", [False, True], ids=["recent", "retained"])
def test_an_earlier_snapshot_answers_as_it_did(
    client: FlaskClient, silver: Any, clock: Any, answered: dict[int, dict[str, bytes]], is_maintained: bool
) -> None:
    """Law: each data endpoint answers with the very bytes that were its live answer then, by id and by time."""
    if is_maintained:
        maintained(silver, clock)
        clock.advance(minutes=1)
        maintained(silver, clock)
    for identity, answers in answered.items():
        made_at = START + timedelta(minutes=15) * (identity - 1)
        for when in (identity, made_at.isoformat(), (made_at + timedelta(minutes=14)).isoformat()):
            for question, data in answers.items():
                assert data_of(client, as_of(question, when)) == data, (identity, question)


def test_an_empty_snapshot_answers_as_it_did(silver: Any, store: Any, client: FlaskClient, clock: Any) -> None:
    """Law: the hours of a day without sales are those of the day when it was made."""
    silver.snapshot()
    store.refresh()
    live = {question: data_of(client, question) for question in QUESTIONS}
    clock.advance(hours=50)
    put_sales(silver, 1)
    silver.snapshot()
    assert {question: data_of(client, as_of(question, 1)) for question in QUESTIONS} == live


def test_the_answer_says_which_snapshot_it_is(
    client: FlaskClient, kafka: Any, pipeline: Any, answered: dict[int, dict[str, bytes]]
) -> None:
    """Law: id, age, positions, and whether all that Kafka has now is in it, of that snapshot; and what was asked."""
    kafka.ends = {0: 60}
    pipeline.look()
    assert "as_of" not in client.get("/api/quality").json["snapshot"]
    snapshot = client.get("/api/quality?as_of=2").json["snapshot"]
    assert snapshot == {
        "id": 2,
        "created_at": "2025-12-22T15:19:05.123456Z",
        "age_ms": 75 * 60 * 1000,
        "positions": [{"topic": "ventes", "topic_id": "topic-1", "partition": 0, "offset": 20}],
        "caught_up": False,
        "as_of": "2",
    }
    assert client.get("/api/quality?as_of=2025-12-22T16:30:00Z").json["snapshot"]["as_of"] == "2025-12-22T16:30:00Z"
    assert answered.keys() == set(range(1, 7))


NEVER_THERE = (
    ("7", 404, "no_such_snapshot", "the newest is 6 (2025-12-22T16:19:05.123456Z)"),
    ("0", 404, "no_such_snapshot", "the newest is 6"),
    ("2025-12-22T15:00:00Z", 404, "no_such_snapshot", "the first is 1 (2025-12-22T15:04:05.123456Z)"),
    ("2025-12-22T16:34:06Z", 400, "bad_parameter", "has not come yet: it is 2025-12-22T16:34:05.123456Z"),
    ("2025-12-22", 400, "bad_parameter", "an instant"),
    ("yesterday", 400, "bad_parameter", "/api/snapshots"),
    ("9" * 30, 400, "bad_parameter", "a snapshot's id"),
    ("-1", 400, "bad_parameter", "a snapshot's id"),
    ("", 400, "bad_parameter", "a snapshot's id"),
)


@pytest.mark.usefixtures("answered")
def test_what_was_never_there(client: FlaskClient) -> None:
    """Law: beyond the newest and before the first there was none; the future and garbage cannot be asked for."""
    for when, status, code, says in NEVER_THERE:
        for question in ("/api/top_products", "/api/aggregated_sales", "/api/hourly_sales", "/api/quality"):
            answer = client.get(as_of(question, when))
            error = answer.json["error"]
            assert (answer.status_code, error["code"], error["parameter"]) == (status, code, "as_of"), when
            assert says in error["message"]


def test_what_is_not_kept_any_more(
    client: FlaskClient, silver: Any, store: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: 410, with the oldest that is kept, and for a snapshot that was thinned out with the nearest that are."""
    monkeypatch.setattr(History, "_began", lambda _: START)  # the table was created in the time of the machine
    for number in range(1, 31):
        put_sales(silver, number)
        silver.snapshot()
        clock.advance(minutes=2)
    store.refresh()
    maintained(silver, clock)
    kept = [each["id"] for each in client.get("/api/snapshots").json["data"]["snapshots"]]
    assert kept == [30, 29, 28, 23, 18, 13, 8, 3]
    for gone, nearest in (
        (15, "18 (2025-12-22T15:38:05.123456Z) and 13"),
        (27, "28 (2025-12-22T15:58:05.123456Z) and 23"),
        (1, "3 (2025-12-22T15:08:05"),
    ):
        answer = client.get(f"/api/quality?as_of={gone}")
        assert (answer.status_code, answer.json["error"]["code"]) == (410, "snapshot_expired")
        assert nearest in answer.json["error"]["message"]
        assert "The oldest: 3 (" in answer.json["error"]["message"]
    assert client.get("/api/quality?as_of=2025-12-22T15:33:00Z").json["snapshot"]["id"] == 13
    assert client.get("/api/quality?as_of=2025-12-22T15:07:00Z").status_code == 410
    assert client.get("/api/quality?as_of=2025-12-22T15:04:00Z").status_code == 404

    assert client.get("/api/quality?as_of=13").status_code == 200
    clock.advance(days=7)
    answer = client.get("/api/quality?as_of=13")
    assert answer.status_code == 410
    assert "for 7 days" in answer.json["error"]["message"]
    assert client.get("/api/quality?as_of=2025-12-22T15:33:00Z").status_code == 410
    for served in ("30", "2025-12-22T16:02:05.2Z", "2025-12-29T18:00:00Z"):
        assert client.get(f"/api/quality?as_of={served}").json["snapshot"]["id"] == 30


# ---- Loading ----


@pytest.fixture
def read_tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose rows are read from files from now on."""
    read: list[str] = []
    real = files.rows

    def note(source: lake.Lake, of: files.Listing, partitions: Any) -> Any:
        read.append(of.table.name)
        return real(source, of, partitions)

    monkeypatch.setattr(files, "rows", note)
    return read


@pytest.mark.usefixtures("answered")
def test_a_snapshot_is_loaded_once(past: PastSnapshots, read_tables: list[str]) -> None:
    """Law: requests for the same one at the same time share one load; later ones find it loaded."""
    barrier = threading.Barrier(past_module.WAITING)
    counts: list[Any] = []

    def ask() -> None:
        barrier.wait()
        with past.read(3, "3") as snapshot:
            counts.append(snapshot.query("SELECT sum(ventes_count)::BIGINT FROM top_produits"))

    threads = [threading.Thread(target=ask) for _ in range(past_module.WAITING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [[(6,)]] * past_module.WAITING
    assert sorted(name for name in read_tables if name != lake.SNAPSHOTS.name) == sorted(
        table.name for table in lake.OVERWRITTEN
    )


@pytest.mark.usefixtures("answered")
def test_those_that_were_asked_for_last_stay_loaded(silver: Any, clock: Any, read_tables: list[str]) -> None:
    """Law: memory is bounded; what is dropped while it is read can be read to the end, and is loaded again."""
    history = History(silver.lake, RETENTION, clock)
    past = PastSnapshots(silver.lake, history, loaded_bytes=1)

    def loads(identity: int) -> bool:
        read_tables.clear()
        with past.read(identity, str(identity)) as snapshot:
            assert snapshot.query("SELECT max(ventes_count) FROM top_produits") == [(identity,)]
        return bool(read_tables)

    assert [loads(1), loads(1)] == [True, False]
    with past.read(1, "1") as held:
        assert loads(2)
        assert held.query("SELECT max(ventes_count) FROM top_produits") == [(1,)]
    assert [loads(2), loads(1)] == [False, True]
    past = PastSnapshots(silver.lake, history)
    assert [loads(number) for number in (1, 2, 3, 1, 2, 3)] == [True, True, True, False, False, False]


@pytest.mark.usefixtures("answered")
def test_requests_that_wait_are_few(
    client: FlaskClient, past: PastSnapshots, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    """Law: half of the server's threads may wait for earlier snapshots; more are told to come again."""
    is_loading, may_go_on = threading.Semaphore(0), threading.Event()
    real = past_module.replace_rows

    def slow(*arguments: Any) -> None:
        is_loading.release()
        assert may_go_on.wait(30)
        real(*arguments)

    monkeypatch.setattr(past_module, "replace_rows", slow)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: statuses.append(ask(number)))
        for number in range(1, past_module.WAITING + 1)
    ]

    def ask(number: int) -> int:
        with past.read(number, str(number)):
            return 200

    for thread in threads:
        thread.start()
    assert is_loading.acquire(timeout=30)
    eventually(lambda: past._waiting._value == 0, 30, "as many wait as may")  # type: ignore[attr-defined]
    with pytest.raises(BusyError), past.read(6, "6"):
        pass
    answer = client.get("/api/quality?as_of=6")
    assert (answer.status_code, answer.json["error"]["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    assert client.get("/api/quality").status_code == 200
    may_go_on.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * past_module.WAITING


# ---- What cannot be read ----


def a_file_of(silver: Any, identity: int, table: lake.Table) -> Path:
    found = History(silver.lake, RETENTION, lambda: START).resolve(identity)
    return Path(silver.lake.uri(table)) / found.files[table.name][0].path


@pytest.mark.parametrize("damage", ["vanished", "flipped"])
@pytest.mark.usefixtures("answered")
def test_a_damaged_file_is_named_and_harms_no_other(client: FlaskClient, silver: Any, damage: str) -> None:
    """Law: a wrong figure is never served: not of the damaged snapshot, and all others answer as before."""
    file = a_file_of(silver, 2, lake.of_view(lake.views.HOURLY_SALES))
    content = file.read_bytes()
    if damage == "vanished":
        file.unlink()
    else:
        file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    answer = client.get("/api/top_products?as_of=2")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "lake_unreadable")
    assert file.name in answer.json["error"]["message"]
    assert client.get("/api/top_products?as_of=3").status_code == 200
    assert client.get("/api/top_products").status_code == 200
    file.write_bytes(content)
    assert client.get("/api/top_products?as_of=2").status_code == 200


def test_a_snapshot_that_goes_while_it_is_loaded_is_gone(
    client: FlaskClient, silver: Any, store: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: what maintenance deletes under a request is answered as what is not kept any more, not as damage."""
    for number in range(1, 31):
        put_sales(silver, number)
        silver.snapshot()
        clock.advance(minutes=2)
    store.refresh()
    real = History.manifest

    def late(self: History, of: Any) -> Any:
        found = real(self, of)
        monkeypatch.setattr(History, "manifest", real)
        maintained(silver, clock)
        return found

    monkeypatch.setattr(History, "manifest", late)
    answer = client.get("/api/quality?as_of=15")
    assert (answer.status_code, answer.json["error"]["code"]) == (410, "snapshot_expired")


def test_a_snapshot_of_a_program_with_other_views(
    client: FlaskClient, silver: Any, store: Any, clock: Any, answered: dict[int, dict[str, bytes]]
) -> None:
    """Law: what it has is answered; what it has not is said to be missing, never shown as empty."""
    newest = History(silver.lake, RETENTION, clock).resolve(6)
    without = {name: version for name, version in newest.tables.items() if name != "silver/qualite"}
    older = replace(newest, id=7, created_at=clock(), tables=without, definition="another", generation=0)
    write_deltalake(silver.lake.open(lake.SNAPSHOTS), older.to_arrow(), mode="overwrite")
    clock.advance(minutes=1)
    put_sales(silver, 8)
    silver.snapshot()
    store.refresh()
    assert data_of(client, "/api/top_products?as_of=7") == answered[6]["/api/top_products"]
    answer = client.get("/api/quality?as_of=7")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_in_snapshot")
