"""The witness itself, held against figures worked out by hand."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from oracle import Message, Oracle

KAFKA = datetime(2025, 12, 22, 14, 35, 30, tzinfo=UTC)
SALE = {
    "vente_id": 1,
    "client_id": 3,
    "produit_id": 101,
    "timestamp": "2025-12-22T10:35:27.123456",
    "quantite": 2,
    "montant": "10.00",
    "client_nom": "John Smith",
    "produit_nom": "Souris",
    "categorie": "Electronique",
    "pays": "UK",
    "segment": "Entreprise",
}


def _oracle() -> Oracle:
    payloads = [
        SALE,
        SALE | {"vente_id": 2, "montant": 0.005},
        SALE | {"vente_id": 1, "montant": 99},
        SALE | {"vente_id": 3, "client_id": 4, "timestamp": "2025-12-21T23:00:00-02:00", "pays": None},
        SALE | {"vente_id": 4, "timestamp": "2025-11-30T23:59:59", "quantite": 5},
        SALE | {"vente_id": 5, "montant": -1.239},
    ]
    encoded = [*(json.dumps(payload).encode() for payload in payloads), None]
    return Oracle(
        Message(offset % 2, offset // 2, KAFKA + timedelta(minutes=10 * offset), payload, "T")
        for offset, payload in enumerate(encoded)
    )


def test_sales_that_count_and_those_that_do_not():
    """The first sale of an id counts; the other names its position."""
    witness = _oracle()
    assert [(row["vente_id"], row["partition"], row["offset"]) for row in witness.ventes_clean] == [
        (1, 0, 0),
        (2, 1, 0),
        (3, 1, 1),
        (4, 0, 2),
    ]
    assert witness.ventes_clean[2] == {
        "vente_id": 3,
        "client_id": 4,
        "produit_id": 101,
        "timestamp": datetime(2025, 12, 22, 1, tzinfo=UTC),
        "quantite": 2,
        "montant": Decimal("10.00"),
        "client_nom": "John Smith",
        "produit_nom": "Souris",
        "categorie": "Electronique",
        "pays": None,
        "segment": "Entreprise",
        "annee": 2025,
        "mois": 12,
        "jour": 22,
        "jour_semaine": "Monday",
        "heure": 1,
        "partition": 1,
        "offset": 1,
        "topic_id": "T",
    }
    assert [tuple(row.values()) for row in witness.ventes_rejetees] == [
        ("doublon", 1, 0, 1, "T", KAFKA + timedelta(minutes=20), 0, 0, "T"),
        ("montant_negatif", 5, 1, 2, "T", KAFKA + timedelta(minutes=50), None, None, None),
        ("message_vide", None, 0, 3, "T", KAFKA + timedelta(minutes=60), None, None, None),
    ]


def test_views_add_up():
    """Sums by window, distinct clients of a month on the day of their first sale, and the roll-ups."""
    witness = _oracle()
    assert [tuple(row.values()) for row in witness.hourly_sales] == [
        (datetime(2025, 12, 22, 10, tzinfo=UTC), 2, Decimal("10.01"), 4, 2025, 12),
        (datetime(2025, 12, 22, 1, tzinfo=UTC), 1, Decimal("10.00"), 2, 2025, 12),
        (datetime(2025, 11, 30, 23, tzinfo=UTC), 1, Decimal("10.00"), 5, 2025, 11),
    ]
    assert [row["pays"] for row in witness.ventes_par_pays] == ["UK", "inconnu", "UK"]
    assert [tuple(row.values()) for row in witness.ventes_par_produit] == [
        ("Souris", "Electronique", date(2025, 12, 22), 3, Decimal("20.01"), 6, 2025, 12),
        ("Souris", "Electronique", date(2025, 11, 30), 1, Decimal("10.00"), 5, 2025, 11),
    ]
    assert [(row["segment"], row["pays"], row["ventes_count"]) for row in witness.ventes_par_segment] == [
        ("Entreprise", "UK", 2),
        ("Entreprise", "inconnu", 1),
        ("Entreprise", "UK", 1),
    ]
    assert [(row["pays"], row["jour"], row["nouveaux_clients"]) for row in witness.ventes_produit_pays] == [
        ("UK", date(2025, 12, 22), 1),
        ("inconnu", date(2025, 12, 22), 1),
        ("UK", date(2025, 11, 30), 1),
    ]
    assert [tuple(row.values()) for row in witness.top_produits] == [
        ("Souris", "Electronique", 4, Decimal("30.01"), 11 / 4)
    ]
    assert [tuple(row.values())[2:] for row in witness.ventes_aggreges] == [
        ("UK", 2025, 12, 2, Decimal("10.01"), Decimal("5.01"), 1),
        ("inconnu", 2025, 12, 1, Decimal("10.00"), Decimal("10.00"), 1),
        ("UK", 2025, 11, 1, Decimal("10.00"), Decimal("10.00"), 1),
    ]


def test_quality_counts_every_message():
    """Each message is in one outcome of one hour; nulls and rounded amounts are counted over all of them."""
    witness = _oracle()
    assert [
        (row["motif"], row["heure"].hour, row["messages"], row["montants_arrondis"]) for row in witness.qualite
    ] == [
        ("valide", 14, 2, 1),
        ("doublon", 14, 1, 0),
        ("valide", 15, 2, 0),
        ("montant_negatif", 15, 1, 1),
        ("message_vide", 15, 1, 0),
    ]
    quality = witness.quality
    assert {name: quality[name] for name in ("received", "valid", "duplicates", "rejected_total", "rounded")} == {
        "received": 7,
        "valid": 4,
        "duplicates": 1,
        "rejected_total": 2,
        "rounded": 2,
    }
    assert quality["clean_pct"] == 57.14
    assert quality["nulls"]["pays"] == {"count": 2, "complete_pct": 71.43}
    assert Oracle([]).quality["clean_pct"] is None
