"""No text of a parameter becomes SQL, markup, a header or a path: for every parameter of every declared endpoint."""

from typing import Any

import answered
import pytest

from web import endpoints

HOSTILE = (
    "'",
    '"',
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE hourly_sales; --",
    "x'); DELETE FROM ventes_par_pays; --",
    "1; ATTACH '/etc/passwd' AS p",
    "(SELECT max(revenue_total) FROM hourly_sales)",
    "' UNION ALL SELECT * FROM read_text('/etc/passwd') --",
    "pays; SELECT 1",
    "-revenue_total, (SELECT 1)",
    "$1",
    "?",
    "\\",
    "%' --",
    "\x00",
    "\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "../../etc/passwd",
    "é" * 2000,
    "🂡",
    "9" * 400,
    "NaN",
    "-1",
)
REFUSALS = {400, 404, 410, 422}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_no_text_is_more_than_a_value(witnessed_web: Any, text: str) -> None:
    """Law: a hostile text is refused, or it is a value that no row has; nothing fails, and the figures stay."""
    client = witnessed_web.client
    before = client.get("/api/views").json["data"]
    tried = 0
    for path, endpoint in endpoints.of(client.application).items():
        for name in (*(parameter.name for parameter in endpoint.parameters), "as_of", "nothing", text):
            response = client.get(path, query_string={name: text})
            tried += 1
            assert response.status_code in REFUSALS or response.status_code == 200, (path, name, response.text)
            assert "Set-Cookie" not in response.headers
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            if response.status_code == 200 and endpoint.columns:
                rows = answered.rows(response)
                # Totals of nothing are one row of zeros.
                counts = {row.get("ventes_count", row.get("clients")) for row in rows}
                assert counts <= {"0"}, (path, name, rows[:2])
            elif response.status_code != 200:
                assert response.mimetype == "application/json"
    assert tried > 100
    assert client.get("/api/views").json["data"] == before
