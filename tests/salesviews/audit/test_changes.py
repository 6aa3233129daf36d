from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from salesviews.audit import changes
from salesviews.views import VENTES_PAR_CLIENT

FIRST = datetime(2026, 1, 5, 8, tzinfo=UTC)
LATER = timedelta(hours=3)


def rows(*clients: tuple[int, datetime, datetime]) -> pa.Table:
    values = {
        "debut_mois": date(2026, 1, 1),
        "ventes_count": 2,
        "revenue_total": Decimal("3.50"),
        "quantite_totale": Decimal(2),
        "annee": 2026,
        "mois": 1,
    }
    return pa.Table.from_pylist(
        [values | {"client_id": client, "premiere_vente": a, "derniere_vente": b} for client, a, b in clients],
        schema=VENTES_PAR_CLIENT.schema,
    )


def test_the_least_and_the_most_change() -> None:
    """Law: a first sale that is another is a change; of all rows together it is the least, as it is of two."""
    before = rows((1, FIRST, FIRST + LATER), (2, FIRST, FIRST))
    after = rows((1, FIRST - LATER, FIRST + LATER), (2, FIRST, FIRST))
    change = changes.compare(VENTES_PAR_CLIENT, before, after, 5).change
    assert (change.added, change.removed, change.changed) == (0, 0, 1)
    (total,) = change.totals
    assert (total.measure, total.before, total.after) == (
        "premiere_vente",
        "2026-01-05 08:00:00+00",
        "2026-01-05 05:00:00+00",
    )
    (example,) = change.examples
    assert example.key == {"client_id": "1", "debut_mois": "2026-01-01"}
    assert (example.before, example.after) == (total.before, total.after)
    assert any("premiere_vente" in line for line in changes.lines([change]))
