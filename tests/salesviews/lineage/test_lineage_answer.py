"""What a lineage and a story look like: JSON without loss, and text that a terminal can show."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import witnessed
from hypothesis import given
from hypothesis import strategies as st
from witnessed import WitnessedLake

from salesviews import lineage
from salesviews.lineage import Lineage, Page, lineage_answer, lineage_text, story
from salesviews.lineage.messages import Message, Raw
from salesviews.lineage.queries import Bounds

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**36), max_value=10**36),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read_back_as_it_was(value: Any) -> None:
    """Law: texts, whatever they hold, and amounts of any size come back exactly; an amount keeps its two decimals."""
    text = lineage_answer.json_text(value)
    assert json.loads(text, parse_float=Decimal) == value
    if isinstance(value, Decimal):
        assert text == f"{value:.2f}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    return witnessed.make(tmp_path_factory.mktemp("made") / "lake", 7, count=60)


@pytest.fixture(scope="module")
def costly(made: WitnessedLake) -> Lineage:
    """The product whose sales are as large as they can be."""
    row = next(each for each in made.oracle().top_produits if each["produit_nom"] == "cher")
    key = {"produit_nom": "cher", "categorie": row["categorie"]}
    return lineage.of_figure(made.lake, made.manifest(), "top_produits", key, None, Page(), Bounds())


def of(told: Lineage | story.Story) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        lineage_answer.json_text(lineage_answer.of(told)), parse_float=Decimal, parse_int=lambda digits: int(digits)
    )
    return body


def test_a_lineage_as_json(costly: Lineage) -> None:
    """Law: every value is in the answer; what a JavaScript number would round is text."""
    body = of(costly)
    assert (body["view"], body["window"], body["adds_up"]) == ("top_produits", None, True)
    assert body["figure"] == body["sums"]
    [first, *_] = [each for each in body["behind"]["messages"] if each["fields"]["quantite"] == str(2**63 - 1)]
    assert first["fields"]["montant"] == Decimal("9999999999999999.99")
    assert first["outcome"] == "valide"
    assert set(first["position"]) == {"topic", "topic_id", "partition", "offset"}
    payload = json.loads(first["raw"]["payload"]["data"])
    assert first["fields"]["vente_id"] == str(payload["vente_id"])
    assert first["raw"]["payload"]["encoding"] == "utf-8"
    assert first["raw"]["kafka_timestamp"].endswith("Z")
    assert body["behind"]["total"] == len(body["behind"]["messages"])


def test_sums_of_quantities_are_text(made: WitnessedLake) -> None:
    """Law: a sum that no 64-bit integer holds is given digit by digit; counts are numbers."""
    row = max(made.oracle().hourly_sales, key=lambda each: each["quantite_totale"])
    found = lineage.of_figure(
        made.lake, made.manifest(), "hourly_sales", {}, row["heure"].isoformat(), Page(1), Bounds()
    )
    body = of(found)
    assert row["quantite_totale"] >= 2**63
    assert body["figure"]["quantite_totale"] == str(row["quantite_totale"])
    assert body["figure"]["ventes_count"] == row["ventes_count"]
    assert body["window"]["column"] == "heure"
    assert datetime.fromisoformat(body["window"]["start"]) == row["heure"]


@pytest.mark.parametrize("data", [b"", b"{}", "été \x00 \x1b[31m".encode(), b"\xff\xfe", None])
def test_bytes_come_back_exactly(costly: Lineage, data: bytes | None) -> None:
    """Law: payload, key and headers are given whole: as text where they are one, else in base64, and null is none."""
    message = costly.behind.messages[0]
    raw = Raw(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), data, (("h", data), ("h", None)), data)
    altered = Message(message.position, "valide", 1, None, None, None, raw)
    told = story.Story(costly.snapshot, (story.Chapter(altered, False, None, ()),))
    [given] = of(told)["messages"]
    for each in (given["raw"]["payload"], given["raw"]["key"], given["raw"]["headers"][0]["value"]):
        assert (None if each is None else decoded(each)) == data
    assert given["raw"]["headers"][1] == {"key": "h", "value": None}
    assert given["raw"]["kafka_timestamp"] == "0001-01-01T00:00:00.000000Z"
    text = lineage_text.of(told)
    assert text.replace("\n", "").isprintable()


def decoded(given: dict[str, str]) -> bytes:
    if given["encoding"] == "utf-8":
        return given["data"].encode()
    assert given["encoding"] == "base64"
    return base64.b64decode(given["data"], validate=True)


def test_a_story_as_json(made: WitnessedLake) -> None:
    """Law: each message is there with its proof and its figures."""
    told = story.of_position(made.lake, made.manifest(), position_of(made, "doublon"), Bounds())
    [message] = of(told)["messages"]
    assert (message["outcome"], message["agrees"]) == ("doublon", True)
    assert set(message["counted_at"]) == {"topic", "topic_id", "partition", "offset"}
    assert [each["view"] for each in message["figures"]] == ["qualite"]
    waiting = story.of_position(made.lake, made.manifest(0), position_of(made, None), Bounds())
    [message] = of(waiting)["messages"]
    assert message["outcome"] == lineage_answer.WAITING


def position_of(made: WitnessedLake, result: str | None) -> str:
    """A message of a result, or one after the first snapshot."""
    judged = made.oracle().outcomes[made.snapshots[0] :]
    message = next(each for each, _, outcome in judged if result in (None, outcome))
    return f"ventes/{message.partition}/{message.offset}"


def test_text_for_a_person(made: WitnessedLake, costly: Lineage) -> None:
    """Law: the figure, the verdict, each message with its payload, and how to go on are in the text."""
    text = lineage_text.of(costly)
    assert text.startswith("top_produits, produit_nom cher, categorie ")
    assert "which add up to it" in text
    assert "9,999,999,999,999,999.99" in text or "19,999,999,999,999,999.98" in text
    for each in costly.behind.messages:
        assert str(each.position) in text
        assert each.raw is not None
        assert each.raw.payload is not None
        assert each.raw.payload.decode() in text
    row = max(made.oracle().ventes_par_pays, key=lambda each: each["ventes_count"])
    found = lineage.of_figure(
        made.lake,
        made.manifest(),
        "ventes_par_pays",
        {"pays": row["pays"]},
        row["heure"].isoformat(),
        Page(1),
        Bounds(),
    )
    assert f"--after {found.behind.next}" in lineage_text.of(found)
    client = made.oracle().ventes_par_client[0]
    key, month = {"client_id": str(client["client_id"])}, client["debut_mois"].isoformat()
    of_client = lineage.of_figure(made.lake, made.manifest(), "ventes_par_client", key, month, Page(1), Bounds())
    for name in ("premiere_vente", "derniere_vente"):
        moment = client[name].astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert f"{name} {moment:>33}" in lineage_text.of(of_client)
        assert f'"{name}":"{moment}"' in lineage_answer.json_text(lineage_answer.of(of_client))
    wrong = lineage.Lineage(**{**found.__dict__, "adds_up": False, "sums": {**found.sums, "ventes_count": 0}})
    assert "do NOT add up" in lineage_text.of(wrong)
    assert "but 0 is behind it" in lineage_text.of(wrong)
    told = story.of_position(made.lake, made.manifest(), position_of(made, "doublon"), Bounds())
    assert "Proved" in lineage_text.of(told)
    assert "which counted" in lineage_text.of(told)


def test_the_folder_is_not_written(made: WitnessedLake) -> None:
    """Law: lineage reads only."""
    before = sorted((path, path.stat().st_mtime_ns) for path in Path(made.root).rglob("*"))
    story.of_position(made.lake, made.manifest(), position_of(made, "doublon"), Bounds())
    assert sorted((path, path.stat().st_mtime_ns) for path in Path(made.root).rglob("*")) == before
