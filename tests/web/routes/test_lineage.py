"""The API of lineage, over a lake that the real parser, counter and sinks wrote."""

import json
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import witnessed
from flask import Flask
from flask.testing import FlaskClient
from witnessed import WitnessedLake

from salesviews import lake, lineage
from salesviews.lineage import Page, lineage_answer, story
from salesviews.lineage.figures import tables
from salesviews.lineage.queries import Bounds
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.tables import files
from web import create_app
from web.answers import Answers
from web.errors import register
from web.past import PastSnapshots
from web.pipeline import PipelineWatch
from web.questions import Questions
from web.routes import lineage as routes
from web.snapshot import SnapshotStore

PATH = "/api/lineage"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    return witnessed.make(tmp_path_factory.mktemp("made") / "annee=1 été" / "lake", 8, count=60)


@pytest.fixture
def served(made: WitnessedLake, clock: Any) -> SnapshotStore:
    loaded = SnapshotStore(made.lake, clock)
    loaded.refresh()
    return loaded


def past(made: WitnessedLake, clock: Any) -> PastSnapshots:
    return PastSnapshots(made.lake, History(made.lake, Retention(days=10_000, step_s=0), clock))


@pytest.fixture
def web(made: WitnessedLake, served: SnapshotStore, pipeline: PipelineWatch, clock: Any) -> FlaskClient:
    return create_app(served, past(made, clock), pipeline, clock, lambda: None, made.lake).test_client()


def answer(client: FlaskClient, **parameters: Any) -> dict[str, Any]:
    response = client.get(PATH, query_string=parameters)
    assert response.status_code == 200, response.text
    body = json.loads(response.text, parse_float=Decimal)
    assert set(body) == {"data", "snapshot"}
    return dict(body)


def error(client: FlaskClient, status: int, **parameters: Any) -> dict[str, Any]:
    response = client.get(PATH, query_string=parameters)
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text
    return dict(response.json["error"])


def busiest_hour(made: WitnessedLake) -> str:
    return f"{max(made.oracle().hourly_sales, key=lambda row: row['ventes_count'])['heure']:%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize("name", tables())
def test_the_answer_is_the_lineage(web: FlaskClient, made: WitnessedLake, name: str) -> None:
    """Law: of each table, the API gives what ``salesviews.lineage`` gives of the served snapshot, to the cent."""
    of = tables()[name]
    row = max(made.oracle().tables[name], key=lambda row: str(row))
    key = {field.name: str(row[field.name]) for field in of.key}
    window = None if of.window is None else row[of.window.column].isoformat().replace("+00:00", "")
    body = answer(web, view=name, **key, **({} if window is None else {"window": window}))
    found = lineage.of_figure(made.lake, made.manifest(), name, key, window, Page(100), Bounds())
    assert body["data"] == json.loads(lineage_answer.json_text(lineage_answer.of(found)), parse_float=Decimal)
    assert body["data"]["adds_up"] is True
    assert body["snapshot"]["id"] == made.manifest().id


def test_the_served_snapshot_is_the_one_that_is_told(
    made: WitnessedLake, pipeline: PipelineWatch, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: a figure of the dashboard and its lineage are of one snapshot, also while the lake has a newer one."""
    older = made.manifest(0)
    monkeypatch.setattr("salesviews.manifest.read", lambda *_: older)
    store = SnapshotStore(made.lake, clock)
    store.refresh()
    monkeypatch.undo()
    client = create_app(store, past(made, clock), pipeline, clock, lambda: None, made.lake).test_client()
    row = max(made.oracle(0).top_produits, key=lambda row: row["ventes_count"])
    body = answer(client, view="top_produits", produit_nom=row["produit_nom"], categorie=row["categorie"])
    assert body["snapshot"]["id"] == older.id
    assert body["data"]["figure"]["ventes_count"] == row["ventes_count"] == body["data"]["behind"]["total"]
    [shown] = [
        each
        for each in json.loads(client.get("/api/top_products").text)["data"]
        if (each["produit_nom"], each["categorie"]) == (row["produit_nom"], row["categorie"])
    ]
    assert shown["ventes_count"] == row["ventes_count"]


def test_an_earlier_snapshot_has_its_own_lineage(web: FlaskClient, made: WitnessedLake) -> None:
    """Law: with ``as_of``, a figure of an earlier snapshot leads to the sales that were behind it then."""
    older = made.manifest(0)
    row = max(made.oracle(0).top_produits, key=lambda row: row["ventes_count"])
    names = {"view": "top_produits", "produit_nom": row["produit_nom"], "categorie": row["categorie"]}
    body = answer(web, **names, as_of=older.id)
    assert (body["snapshot"]["id"], body["snapshot"]["as_of"]) == (older.id, str(older.id))
    assert body["data"]["figure"]["ventes_count"] == row["ventes_count"] == body["data"]["behind"]["total"]
    assert body["data"]["adds_up"]
    assert answer(web, **names)["data"]["behind"]["total"] > row["ventes_count"]
    assert error(web, 400, **names, as_of="yesterday")["parameter"] == "as_of"
    assert error(web, 404, **names, as_of=99)["parameter"] == "as_of"


def test_pages(web: FlaskClient, made: WitnessedLake) -> None:
    """Law: following `next` gives each message once, in order."""
    hour = busiest_hour(made)
    whole = answer(web, view="hourly_sales", window=hour)["data"]["behind"]
    got: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        part = answer(web, view="hourly_sales", window=hour, limit=2, **cursor)["data"]["behind"]
        got += part["messages"]
        if part["next"] is None:
            break
        cursor = {"after": part["next"]}
    assert got == whole["messages"]
    assert part["pages"] == -(-whole["total"] // 2)


def test_the_story_of_a_sale(web: FlaskClient, made: WitnessedLake) -> None:
    """Law: by its id or its position, a sale's story is the one of ``salesviews.lineage.story``."""
    message, outcome, _ = next(each for each in made.oracle().outcomes if each[2] == "valide")
    vente_id = outcome.fields["vente_id"]
    told = story.of_sale(made.lake, made.manifest(), str(vente_id), Bounds())
    expected = json.loads(lineage_answer.json_text(lineage_answer.of(told)), parse_float=Decimal)
    assert answer(web, vente_id=vente_id)["data"] == expected
    body = answer(web, position=f"ventes/{message.partition}/{message.offset}")
    assert body["data"]["messages"][0] == expected["messages"][0]
    assert body["data"]["holds"] is True


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "view"),
        ("view=", "view"),
        ("view=hourly", "view"),
        ("view=hourly_sales&view=hourly_sales&window=2026-02-27T12:00", "view"),
        ("view=hourly_sales", "window"),
        ("view=hourly_sales&window=x", "window"),
        ("view=hourly_sales&window=2026-02-27T12:30", "window"),
        ("view=hourly_sales&window=2031-02-27T12:00", "window"),
        ("view=hourly_sales&window=2026-02-27T12:00&pays=France", "pays"),
        ("view=hourly_sales&window=2026-02-27T12:00&limit=0", "limit"),
        ("view=hourly_sales&window=2026-02-27T12:00&limit=1001", "limit"),
        ("view=hourly_sales&window=2026-02-27T12:00&after=1", "after"),
        ("view=hourly_sales&window=2026-02-27T12:00&left_out_after=7-1", "left_out_after"),
        ("view=ventes_par_pays&window=2026-02-27T12:00", "pays"),
        ("view=ventes_par_pays&window=2026-02-27T12:00&pays=Frnce", "pays"),
        ("view=ventes_par_pays&window=2026-02-27T12:00&pays=France&pays=UK", "pays"),
        ("view=top_produits&produit_nom=a&categorie=b&window=2026-02-27", "window"),
        ("vente_id=x", "vente_id"),
        ("vente_id=1&vente_id=2", "vente_id"),
        ("vente_id=-1", "vente_id"),
        ("vente_id=1&position=ventes/0/1", "position"),
        ("vente_id=1&view=hourly_sales", "view"),
        ("vente_id=1&limit=1", "limit"),
        ("position=ventes", "position"),
        ("position=ventes/0/999999", "position"),
        ("foo=1", "view"),
    ],
)
def test_a_bad_question_names_its_parameter(web: FlaskClient, query: str, parameter: str) -> None:
    """Law: what is unknown, repeated, missing or leads nowhere is refused with the parameter's name."""
    response = web.get(f"{PATH}?{query}")
    assert response.status_code == 400, response.text
    found = response.json["error"]
    assert (found["code"], found["parameter"]) == ("bad_parameter", parameter)


def test_there_is_none_before_the_first_snapshot(client: FlaskClient) -> None:
    """Law: without a snapshot there is nothing to tell: 503, to be tried again."""
    response = client.get(PATH, query_string={"vente_id": 1})
    assert response.status_code == 503
    assert response.json["error"]["code"] == "no_snapshot"


@pytest.mark.parametrize("table", [lake.BRONZE, lake.CLEAN, lake.REJECTED], ids=lambda table: table.name)
def test_a_damaged_lake_is_told_with_the_file(
    made: WitnessedLake, tmp_path: Path, clock: Any, pipeline: PipelineWatch, table: Any
) -> None:
    """Law: a file that cannot be read gives 503 with its name, and the figures are still served."""
    own = made.copy(tmp_path / "lake")
    store = SnapshotStore(own.lake, clock)
    store.refresh()
    for partition in files.listing(own.lake, table).files.values():
        for path in partition:
            (Path(own.lake.uri(table)) / path).unlink()
    client = create_app(store, past(own, clock), pipeline, clock, lambda: None, own.lake).test_client()
    found = error(client, 503, view="hourly_sales", window=busiest_hour(made))
    assert found["code"] == "lake_unreadable"
    assert f"{table.name}/" in found["message"]
    assert ".parquet" in found["message"]
    assert client.get("/api/hourly_sales").status_code == 200


@pytest.fixture
def bounded(
    made: WitnessedLake, served: SnapshotStore, pipeline: PipelineWatch, clock: Any
) -> Callable[[Bounds], Flask]:
    def make(bounds: Bounds) -> Flask:
        app = Flask(__name__)
        app.register_blueprint(
            routes.routes(made.lake, Questions(served, past(made, clock)), Answers(pipeline, clock), bounds)
        )
        register(app)
        return app

    return make


@pytest.mark.parametrize("bounds", [Bounds(time_s=1e-9), Bounds(memory_mb=1)], ids=["time", "memory"])
def test_too_much_is_told(bounded: Callable[[Bounds], Flask], made: WitnessedLake, bounds: Bounds) -> None:
    """Law: what takes more than it may is 503 that says so, and not a server that is busy for ever."""
    found = error(bounded(bounds).test_client(), 503, view="hourly_sales", window=busiest_hour(made))
    assert found["code"] == "too_much"
    assert "shorter window" in found["message"]


def test_only_some_run_at_once(web: FlaskClient, made: WitnessedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: more lineages than may run at once are told to come again, at once; other answers do not wait for them."""
    go, begun = threading.Event(), threading.Semaphore(0)
    told = lineage.of_figure

    def slow(*arguments: Any) -> Any:
        begun.release()
        assert go.wait(30)
        return told(*arguments)

    monkeypatch.setattr(lineage, "of_figure", slow)
    query = {"view": "hourly_sales", "window": busiest_hour(made)}
    statuses: list[int] = []

    def request() -> None:
        statuses.append(web.application.test_client().get(PATH, query_string=query).status_code)

    threads = [threading.Thread(target=request) for _ in range(routes.AT_ONCE)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=30)
    response = web.get(PATH, query_string=query)
    assert response.status_code == 503
    assert response.json["error"]["code"] == "busy"
    assert int(response.headers["Retry-After"]) >= 1
    assert web.get("/api/top_products").status_code == 200
    go.set()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * routes.AT_ONCE
    assert web.get(PATH, query_string=query).status_code == 200
