"""How rows are answered: formats, ETags, compression. The sums themselves are held by ``test_grouping``."""

import csv
import gzip
import io
import json
from typing import Any

import answered
import pyarrow as pa
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

from web.answers import Answers
from web.endpoints import Column, Endpoint
from web.questions import Questions
from web.rows import Query, Rows
from web.snapshot import Snapshot

PATH = "/api/views/ventes_par_pays"
MIMETYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


@pytest.fixture
def served(silver: Any, store: Any, client: FlaskClient) -> FlaskClient:
    silver.snapshot({0: 10})
    store.refresh()
    return client


@pytest.mark.parametrize("form", answered.FORMATS)
def test_the_header_and_the_parameter_choose_alike(witnessed_web: Any, form: str) -> None:
    """Law: ``Accept`` and ``format`` give the same answer, and the parameter goes before the header."""
    by_header = witnessed_web.client.get(PATH, headers={"Accept": f"{MIMETYPES[form]}, image/png;q=0.9"})
    by_name = witnessed_web.client.get(f"{PATH}?format={form}", headers={"Accept": "image/png"})
    assert by_header.mimetype == by_name.mimetype == MIMETYPES[form]
    assert by_header.data == by_name.data
    assert "Accept" in by_header.vary


@pytest.mark.parametrize(
    ("accept", "form"),
    [("*/*", "json"), ("application/*", "json"), ("text/*", "csv"), ("text/csv;q=0.5, */*;q=0.1", "csv"), ("", "json")],
)
def test_what_is_liked_best_is_given(witnessed_web: Any, accept: str, form: str) -> None:
    """Law: the format with the best weight; JSON where any will do."""
    assert witnessed_web.client.get(PATH, headers={"Accept": accept}).mimetype == MIMETYPES[form]


def test_a_format_that_is_not_offered(witnessed_web: Any) -> None:
    """Law: 406 names what is offered."""
    response = witnessed_web.client.get(PATH, headers={"Accept": "application/xml"})
    assert (response.status_code, response.json["error"]["code"]) == (406, "not_acceptable")
    assert all(mimetype in response.json["error"]["message"] for mimetype in MIMETYPES.values())


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_a_table_says_what_it_is_of(witnessed_web: Any, form: str) -> None:
    """Law: types, docs and units are those of the catalogue; the snapshot's id and positions are in the schema."""
    response = witnessed_web.client.get(f"/api/views/ventes_produit_pays?format={form}&group_by=")
    schema = answered.table(response).schema
    assert {field.name: str(field.type) for field in schema} == {
        "jour": "date32[day]",
        "ventes_count": "int64",
        "revenue_total": "decimal128(38, 2)",
        "quantite_totale": "decimal128(38, 0)",
    }
    assert schema.field("revenue_total").metadata[b"unit"] == b"amount"
    noted = {name: json.loads(text) for name, text in schema.metadata.items()}
    body = witnessed_web.client.get("/api/views/ventes_produit_pays?group_by=").json
    lasting = {name: value for name, value in body["snapshot"].items() if name not in ("age_ms", "caught_up")}
    assert noted[b"snapshot"] == lasting
    assert noted[b"omitted"] == body["omitted"]
    assert json.loads(response.headers["Answer-About"])["omitted"] == body["omitted"]
    assert response.headers["Snapshot-Id"] == str(body["snapshot"]["id"])
    assert [text.rpartition("=")[2] for text in response.headers["Snapshot-Positions"].split(", ")] == [
        str(each["offset"]) for each in body["snapshot"]["positions"]
    ]


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a"b', "a,b", "a\r\nb", "été", "", " =1", "'=1", "\x00"]


def test_csv_is_rfc_4180_and_no_formula(silver: Any, store: Any, client: FlaskClient) -> None:
    """Law: each text comes back as it is, but for an apostrophe before one that a spreadsheet would compute."""
    rows = [{"produit_nom": text, "categorie": "c", "revenue_total": 1, "ventes_count": 1} for text in HOSTILE]
    silver.put("top_produits", rows)
    silver.snapshot()
    store.refresh()
    response = client.get("/api/views/top_produits?format=csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    text = response.get_data().decode()
    assert text.count("\r\n") == len(HOSTILE) + 2  # the header, and one within a text
    read = [row["produit_nom"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert sorted(read) == sorted(f"'{each}" if each[:1] in tuple("=+-@\t\r") else each for each in HOSTILE)


class TestETag:
    @pytest.mark.parametrize("form", answered.FORMATS)
    def test_an_unchanged_answer_is_a_304(self, served: FlaskClient, form: str) -> None:
        """Law: same question, format and snapshot: nothing is sent, and no query runs."""
        response = served.get(f"{PATH}?format={form}")
        assert response.headers["ETag"].startswith('W/"')
        assert response.headers["Cache-Control"] == "private, no-cache"
        again = served.get(f"{PATH}?format={form}", headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary", "Snapshot-Id"):
            assert again.headers[name] == response.headers[name], name

    def test_no_query_runs_for_a_304(self, served: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """Law: what costs is not done before the ETags are compared."""
        tag = served.get(PATH).headers["ETag"]

        def refuse(*_: Any) -> None:
            raise AssertionError("a query ran")

        monkeypatch.setattr(Snapshot, "texts", refuse)
        assert served.get(PATH, headers={"If-None-Match": tag}).status_code == 304
        assert served.get(PATH, headers={"If-None-Match": '"other"'}).status_code == 500

    @pytest.mark.parametrize(
        ("path", "is_same"),
        [
            (PATH, True),
            (f"{PATH}?granularity=hour", True),
            (f"{PATH}?limit=5", False),
            (f"{PATH}?pays=France", False),
            (f"{PATH}?format=csv", False),
            (f"{PATH}?as_of=1", False),
            ("/api/views/ventes_par_segment", False),
        ],
    )
    def test_another_question_has_another_tag(self, served: FlaskClient, path: str, is_same: bool) -> None:
        """Law: the tag is of what is asked, however it is written."""
        assert (served.get(path).headers["ETag"] == served.get(PATH).headers["ETag"]) is is_same

    def test_a_new_snapshot_has_another_tag(self, served: FlaskClient, silver: Any, store: Any, clock: Any) -> None:
        """Law: a client that has the old figures is given the new ones."""
        tag = served.get(PATH).headers["ETag"]
        clock.advance(seconds=1)
        silver.snapshot({0: 11})
        store.refresh()
        response = served.get(PATH, headers={"If-None-Match": tag})
        assert (response.status_code, response.json["snapshot"]["id"]) == (200, 2)

    def test_nothing_old_is_shown_from_a_cache(
        self, served: FlaskClient, kafka: Any, pipeline: Any, clock: Any
    ) -> None:
        """Law: ``caught_up`` is never that of another moment; the age of a kept answer is in the headers of its 304."""
        kafka.ends = {0: 10}
        pipeline.look()
        response = served.get(PATH)
        assert response.json["snapshot"]["caught_up"] is True
        clock.advance(milliseconds=1500)
        again = served.get(PATH, headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
        assert int(again.headers["Snapshot-Age-Ms"]) == response.json["snapshot"]["age_ms"] + 1500
        kafka.ends = {0: 11}
        pipeline.look()
        late = served.get(PATH, headers={"If-None-Match": response.headers["ETag"]})
        assert (late.status_code, late.json["snapshot"]["caught_up"]) == (200, False)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_large_answers_are_compressed(witnessed_web: Any, coding: str) -> None:
    """Law: what a client takes, it gets; the same bytes once they are unpacked."""
    plain = witnessed_web.client.get(PATH)
    packed = witnessed_web.client.get(PATH, headers={"Accept-Encoding": coding})
    assert "Accept-Encoding" in plain.vary
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == coding
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data)
    name = {"br": "brotli"}.get(coding, coding)
    if coding == "gzip":
        assert gzip.decompress(packed.data) == plain.data
    else:
        assert pa.Codec(name).decompress(packed.data, len(plain.data), asbytes=True) == plain.data


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (PATH, "identity"),
        (PATH, "gzip;q=0"),
        (PATH, "compress"),
        (f"{PATH}?limit=1", "gzip"),
        (f"{PATH}?format=parquet", "gzip"),
        ("/static/icon.svg", "gzip"),
    ],
)
def test_what_is_not_compressed(witnessed_web: Any, path: str, accept: str) -> None:
    """Law: what a client does not take, what is small, what is compact already, pictures."""
    assert "Content-Encoding" not in witnessed_web.client.get(path, headers={"Accept-Encoding": accept}).headers


def test_rows_that_are_no_table_of_the_snapshot(
    app: Flask, silver: Any, store: Any, past: Any, pipeline: Any, clock: Any
) -> None:
    """Law: ``Query.tables`` are read by name, and made only where the answer is not known already."""
    silver.snapshot()
    store.refresh()
    made = []

    def numbers() -> pa.Table:
        made.append(1)
        return pa.table({"n": [3, 1, 2]})

    blueprint = Blueprint("made", __name__)
    rows = Rows(Questions(store, past), Answers(pipeline, clock))

    @rows.get(blueprint, Endpoint("/api/made", "numbers", columns=(Column("n", pa.int64(), "a number"),)))
    def route(_values: dict[str, Any], _snapshot: Snapshot) -> Query:
        return Query("FROM numbers WHERE n > $1", "n", [1], tables={"numbers": numbers}, depends_on="v1")

    app.register_blueprint(blueprint)
    client = app.test_client()
    response = client.get("/api/made")
    assert response.json["data"] == [{"n": 2}, {"n": 3}]
    assert client.get("/api/made?format=csv").text == '"n"\r\n2\r\n3\r\n'
    assert len(made) == 2
    assert client.get("/api/made", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    assert len(made) == 2
