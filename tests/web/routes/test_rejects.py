from datetime import UTC
from typing import Any

import answered
import pytest


def position(topic_id: str, partition: Any, offset: Any) -> str:
    return "" if partition is None else f"{topic_id}/{partition}/{offset}"


def expected(oracle: Any) -> list[dict[str, str]]:
    """The rejections, the latest first."""
    payloads = {(message.partition, message.offset): message.payload for message, _, _ in oracle.outcomes}
    rows = []
    for row in reversed(oracle.ventes_rejetees):
        payload = payloads[row["partition"], row["offset"]]
        rows.append(
            {
                "position": position(row["topic_id"], row["partition"], row["offset"]),
                "topic": "ventes",
                "partition": str(row["partition"]),
                "offset": str(row["offset"]),
                "kafka_timestamp": f"{row['kafka_timestamp'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
                "motif": row["motif"],
                "vente_id": answered.text(row["vente_id"]),
                "compte": position(row["topic_id"], row["compte_partition"], row["compte_offset"]),
                "payload_debut": "" if payload is None else payload[:200].decode(errors="replace"),
                "payload_octets": "" if payload is None else str(len(payload)),
            }
        )
    return rows


@pytest.mark.parametrize("web", ["years_web", "witnessed_web"])
def test_the_latest_rejections(web: str, request: pytest.FixtureRequest) -> None:
    """Law: every message that does not count, the latest first, in pages, with how it begins, byte for byte."""
    witnessed = request.getfixturevalue(web)
    shown, offset = [], 0
    while offset is not None:
        response = witnessed.client.get(f"/api/rejects?limit=100&offset={offset}")
        shown += answered.rows(response)
        offset = response.json["page"]["next"]
    sequences = [int(row.pop("sequence")) for row in shown]
    assert sequences == sorted(sequences, reverse=True)
    assert shown == expected(witnessed.oracle)
    assert len({row["motif"] for row in shown}) > 10


def test_some_motifs(years_web: Any) -> None:
    """Law: only those that are asked for; a motif that there is not is refused, with what there is."""
    rows = answered.rows(years_web.client.get("/api/rejects?motif=doublon&motif=json_invalide&limit=200"))
    wanted = [row for row in expected(years_web.oracle) if row["motif"] in ("doublon", "json_invalide")][:200]
    assert [row["position"] for row in rows] == [row["position"] for row in wanted]
    assert all(row["compte"] for row in rows if row["motif"] == "doublon")
    response = years_web.client.get("/api/rejects?motif=valide")
    assert response.status_code == 400
    assert "json_invalide" in response.json["error"]["message"]
