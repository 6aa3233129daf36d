from typing import Any

import pytest

from salesviews import views

NAMES = [each.name for each in (*views.VIEWS, *views.ROLL_UPS)]


def catalogue(web: Any) -> dict[str, dict[str, Any]]:
    response = web.client.get("/api/views")
    assert response.status_code == 200, response.text
    return {each["name"]: each for each in response.json["data"]}


def test_every_view_is_in_the_catalogue(witnessed_web: Any) -> None:
    """Law: each view and roll-up, with its rows in this snapshot."""
    listed = catalogue(witnessed_web)
    assert list(listed) == NAMES
    tables = witnessed_web.oracle.tables
    for name, each in listed.items():
        if name != "qualite":  # the witness was not sent what Kafka lost
            assert each["rows"] == len(tables[name]), name


def test_an_entry_says_what_may_be_asked(witnessed_web: Any) -> None:
    """Law: keys, window, measures with types, units and meaning, columns in order, granularities."""
    entry = catalogue(witnessed_web)["ventes_produit_pays"]
    assert (entry["kind"], entry["source"], entry["path"]) == ("view", "ventes", "/api/views/ventes_produit_pays")
    assert [(each["name"], each["type"]) for each in entry["key"]] == [
        ("produit_nom", "string"),
        ("categorie", "string"),
        ("pays", "string"),
    ]
    assert entry["window"] == {"column": "jour", "granularity": "day", "duration_s": 86400}
    assert [(each["name"], each["unit"]) for each in entry["measures"]] == [
        ("ventes_count", "count"),
        ("revenue_total", "amount"),
        ("quantite_totale", "quantity"),
        ("nouveaux_clients", "count"),
    ]
    assert all(each["doc"] for each in (*entry["measures"], *entry["key"]))
    assert entry["granularities"] == ["day", "week", "month", "year", "all"]
    roll_up = catalogue(witnessed_web)["ventes_aggreges"]
    assert (roll_up["kind"], roll_up["source"], roll_up["granularities"]) == ("roll-up", "ventes_produit_pays", [])
    assert [each["name"] for each in roll_up["key"]] == ["produit_nom", "categorie", "pays", "annee", "mois"]


@pytest.mark.parametrize("name", NAMES)
def test_each_entry_leads_to_its_rows(witnessed_web: Any, name: str) -> None:
    """Law: the columns of the catalogue are those of the rows, in that order, and every parameter it names is taken."""
    entry = catalogue(witnessed_web)[name]
    response = witnessed_web.client.get(entry["path"])
    assert list(response.json["data"][0]) == entry["columns"]
    assert response.json["view"] == name
    for parameter in entry["parameters"]:
        assert witnessed_web.client.get(entry["path"], query_string={parameter: ""}).status_code in (200, 400)
    refused = witnessed_web.client.get(entry["path"], query_string={"nothing": ""})
    assert all(parameter in refused.json["error"]["message"] for parameter in entry["parameters"])


def test_a_view_that_is_not_there(witnessed_web: Any) -> None:
    """Law: 404 names those that are close to it."""
    response = witnessed_web.client.get("/api/views/ventes_par_clients")
    assert response.status_code == 404
    assert "/api/views/ventes_par_segment" in response.json["error"]["message"]
