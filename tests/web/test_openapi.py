import re
from typing import Any

import jsonschema
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient

from salesviews.lineage import figures
from web import endpoints

PAGES = {"/", "/login", "/logout"}
"""Addresses for people, that are no part of the API."""
IN_README = re.compile(r"^\| `GET (.+?) \| .* \| (.*) ?\|$", re.MULTILINE)
SAID_BY = {
    "filters": {"pays", "produit_nom", "categorie", "segment"},
    "a period": {"from", "to"},
    "its key columns": {field.name for table in figures.tables().values() for field in table.key},
}
"""What stands for several parameters in README's table."""
MAY_BE_EMPTY = {"/api/anomalies"}
"""Addresses whose answer over the lake here has no rows: it has no weeks before."""


def document(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/api/openapi.json")
    assert response.status_code == 200
    return dict(response.get_json(force=True))


def test_every_route_is_in_the_document(app: Flask, client: FlaskClient) -> None:
    """Law: an address that the application answers is described, and what is described is answered."""
    rules = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"}
    assert rules - PAGES == set(document(client)["paths"])


def test_readme_has_every_endpoint_with_what_it_takes(app: Flask, pytestconfig: pytest.Config) -> None:
    """Law: README's table is the declarations: no endpoint and no parameter is left out, or is there no more."""
    said = {}
    for paths, takes in IN_README.findall((pytestconfig.rootpath / "README.md").read_text(encoding="utf-8")):
        names = set(re.findall("`([a-z_]+)`", takes)).union(*(SAID_BY[text] for text in SAID_BY if text in takes))
        said |= dict.fromkeys(re.findall("/[a-z_/<>]+", paths), names)
    described = {path: {each.name for each in endpoint.parameters} for path, endpoint in endpoints.of(app).items()}
    for path in ("/api/docs", "/api/openapi.json"):  # README tells of them, and of `format`, below the table
        del described[path]
    for names in described.values():
        names.discard("format")
    by_view = [described.pop(path) for path in list(described) if path.startswith("/api/views/")]
    described["/api/views/<name>"] = set().union(*by_view)
    assert said == described


def test_the_document_is_openapi(client: FlaskClient) -> None:
    """Law: it is valid OpenAPI 3.1, and each schema in it is valid JSON Schema."""
    schemathesis.openapi.from_dict(document(client)).validate()

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("schema"), dict):
                jsonschema.Draft202012Validator.check_schema(value["schema"])
            for each in value.values():
                check(each)
        elif isinstance(value, list):
            for each in value:
                check(each)

    check(document(client))


def test_every_parameter_is_described_as_it_is_read(app: Flask, client: FlaskClient) -> None:
    """Law: each declared parameter is there with a description, its example can be read, and it is read from there."""
    described = document(client)["paths"]
    for path, endpoint in endpoints.of(app).items():
        parameters = {each["name"]: each for each in described[path]["get"]["parameters"]}
        assert all(each["description"] for each in parameters.values()), path
        for parameter in endpoint.parameters:
            example = parameters[parameter.name].get("example")
            if example is not None:
                text = example[0] if parameter.is_repeatable else example
                parameter.read(str(text))
                jsonschema.validate(text, dict(parameter.read.schema))


@pytest.mark.usefixtures("witnessed_web")
def test_every_answer_with_rows_is_as_described(witnessed_web: Any) -> None:
    """Law: a real answer has the described form, its columns those that are described, in every format."""
    described = document(witnessed_web.client)
    with_rows = [path for path, item in described["paths"].items() if "text/csv" in content(item)]
    assert len(with_rows) >= 27
    declared = endpoints.of(witnessed_web.client.application)
    for path in with_rows:
        required = {each.name: each.example for each in declared[path].parameters if each.is_required}
        schema = content(described["paths"][path])["application/json"]["schema"]
        body = witnessed_web.client.get(path, query_string=required).json
        jsonschema.validate(body, {**schema, "components": described["components"]})
        assert body["data"] or path in MAY_BE_EMPTY, path
        for mimetype in content(described["paths"][path]):
            response = witnessed_web.client.get(path, query_string=required, headers={"Accept": mimetype})
            assert response.mimetype == mimetype


def content(item: dict[str, Any]) -> dict[str, Any]:
    return dict(item["get"]["responses"]["200"]["content"])


def test_the_page_shows_every_endpoint(client: FlaskClient) -> None:
    """Law: it is made from the same document, and runs nothing."""
    response = client.get("/api/docs")
    assert response.mimetype == "text/html"
    assert not re.search(r"<script|\son\w+=|\sstyle=|javascript:", response.text)
    for path, item in document(client)["paths"].items():
        assert f'id="{item["get"]["operationId"]}"' in response.text
        for parameter in item["get"]["parameters"]:
            assert f"<code>{parameter['name']}</code>" in response.text, path
