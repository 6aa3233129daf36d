"""What goes wrong with a message: for each motif, shapes that have it; and what is odd about a sale that still counts.

A shape takes an ordinary sale's payload and gives the altered one; it is pure.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from salesviews import event
from salesviews.event import Motif

Payload = bytes | None
Shape = Callable[[bytes], Payload]
Sale = dict[str, Any]


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _json(sale: Sale) -> bytes:
    return _ENCODER.encode(sale).encode()


def _exactly(payload: Payload) -> Shape:
    return lambda _: payload


def _cut(share: float) -> Shape:
    """Only the beginning arrives."""
    return lambda payload: payload[: int(len(payload) * share)]


def _replaced(old: bytes, new: bytes) -> Shape:
    """Every ``old`` becomes ``new``, at the level of bytes; ``old`` is in every payload."""
    return lambda payload: payload.replace(old, new)


def _without(*names: str) -> Shape:
    return lambda payload: _json({name: value for name, value in json.loads(payload).items() if name not in names})


def _with(**changes: Any) -> Shape:
    """Fields get other values; a function is given the sale and makes the value."""

    def shape(payload: bytes) -> bytes:
        sale = json.loads(payload)
        return _json(sale | {name: new(sale) if callable(new) else new for name, new in changes.items()})

    return shape


def _with_text(name: str, text: str) -> Shape:
    """A field gets a value that ``json`` does not write, as JSON text."""
    mark = "\N{OBJECT REPLACEMENT CHARACTER}"
    return lambda payload: _json(json.loads(payload) | {name: mark}).replace(f'"{mark}"'.encode(), text.encode())


def _absent(name: str) -> tuple[Shape, ...]:
    return _without(name), _with(**{name: None})


SHAPES: Mapping[Motif, tuple[Shape, ...]] = {
    Motif.MESSAGE_VIDE: (_exactly(None), _exactly(b"")),
    Motif.JSON_INVALIDE: (
        _cut(0.4),
        _cut(0.9),
        _replaced(b'"client_nom": "', b'"client_nom": "\xff\xfe'),
        _replaced(b", ", b"; "),
        _with_text("montant", "NaN"),
        _with_text("client_nom", r'"\ud83d"'),
        _exactly(b"[1, 2, 3]"),
        _exactly(b'"vente"'),
        _exactly(b"null"),
    ),
    **{field.absent: _absent(field.name) for field in event.FIELDS if field.absent},
    Motif.TYPE_INVALIDE: (
        _with(vente_id=lambda sale: f"V-{sale['vente_id']}"),
        _with(vente_id=2**63),
        _with(client_id=3.5),
        _with(client_id=True),
        _with(quantite="deux"),
        _with(quantite=[1, 2]),
        _with(montant="gratuit"),
        _with(montant=10**17),
        _with_text("montant", "1e400"),
        _with(timestamp="hier"),
        _with(timestamp="2025-13-45T25:61:00"),
        _with(produit_nom={"fr": "Ordinateur portable", "en": "Laptop"}),
    ),
    Motif.MONTANT_NEGATIF: (_with(montant=lambda sale: -1.0 - sale["montant"]), _with(montant=-0.01, quantite=0)),
    Motif.QUANTITE_NON_POSITIVE: (_with(quantite=0), _with(quantite=lambda sale: -sale["quantite"])),
    Motif.TIMESTAMP_HORS_BORNES: (
        _with(timestamp="1970-01-01T00:00:00"),
        _with(timestamp="1999-12-31T23:59:59.999999"),
        _with(timestamp="9999-12-31T23:59:59"),
        _with(timestamp=lambda sale: "22" + sale["timestamp"][2:].replace("-02-29", "-02-28")),
    ),
}
"""Each shape gives its motif, and no motif before it in precedence, whatever the sale."""


def _at_offset(hours: float) -> Callable[[Sale], str]:
    """The same instant, written by another clock."""
    zone = timezone(timedelta(hours=hours))
    return lambda sale: datetime.fromisoformat(sale["timestamp"] + "+00:00").astimezone(zone).isoformat()


ODDITIES: tuple[Shape, ...] = (
    _with(montant=lambda sale: round(sale["montant"] + 0.005, 3)),
    _with(timestamp=_at_offset(2)),
    _with(timestamp=_at_offset(-5)),
    _with(timestamp=_at_offset(5.5)),
    _with(timestamp=lambda sale: sale["timestamp"] + "Z"),
    _with(canal="boutique", coupon={"code": "NOËL", "pct": 5}),
    _with(montant=0, note="offert"),
    _with(quantite=lambda sale: str(sale["quantite"])),
    *(shape for field in event.FIELDS if not field.absent for shape in _absent(field.name)),
)
"""Unusual, and valid: they count like any sale."""

CONFLICTS: tuple[Shape, ...] = (
    _with(montant=lambda sale: round(sale["montant"] * 0.9 + 0.01, 2)),
    _with(quantite=lambda sale: int(sale["quantite"]) + 1),
    _with(client_id=lambda sale: sale["client_id"] + 1),
    _with(pays=lambda sale: "Belgique" if sale.get("pays") != "Belgique" else "Suisse"),
    _with(timestamp=lambda sale: sale["timestamp"][:11] + "12:00:00"),
)
"""A second message under the same ``vente_id``, valid by itself, with other content."""
