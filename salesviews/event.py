"""A sale: its fields, and the motifs for which a message is not one.

Everything that knows a field or a motif derives it from here: the parsing SQL, the Arrow and Delta schemas, the quality
report, the generator's dirt, the tests' oracle of names.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pyarrow as pa

from salesviews import money


class Kind(StrEnum):
    """What a JSON value must hold exactly to enter its column."""

    INTEGER = "integer"
    MONEY = "money"
    TIMESTAMP = "timestamp"
    TEXT = "text"


ARROW_TYPES: dict[Kind, pa.DataType] = {
    Kind.INTEGER: pa.int64(),
    Kind.MONEY: money.DECIMAL_ARROW,
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Kind.TEXT: pa.string(),
}


@dataclass(frozen=True)
class Field:
    """One field of a sale.

    :param name: JSON key and column name
    :param kind: what its value must hold
    :param absent: the motif when it is missing or null; None where that is valid
    """

    name: str
    kind: Kind
    absent: "Motif | None"
    doc: str

    @property
    def arrow(self) -> pa.Field:
        return pa.field(self.name, ARROW_TYPES[self.kind])


class Motif(StrEnum):
    """Why a message is not counted. The order is the order of precedence: the first that applies is the motif."""

    MESSAGE_VIDE = "message_vide"
    JSON_INVALIDE = "json_invalide"
    VENTE_ID_ABSENT = "vente_id_absent"
    CLIENT_ID_ABSENT = "client_id_absent"
    MONTANT_ABSENT = "montant_absent"
    QUANTITE_ABSENTE = "quantite_absente"
    TIMESTAMP_ABSENT = "timestamp_absent"
    TYPE_INVALIDE = "type_invalide"
    MONTANT_NEGATIF = "montant_negatif"
    QUANTITE_NON_POSITIVE = "quantite_non_positive"
    TIMESTAMP_HORS_BORNES = "timestamp_hors_bornes"


DOUBLON = "doublon"
"""The motif of a valid sale whose ``vente_id`` counted already; given by ``views``, which knows the total order."""

VALIDE = "valide"
"""Not a motif: the key under which ``qualite`` counts what is in ``ventes_clean``."""

PERDU = "perdu"
"""Not a message: the key under which ``qualite`` counts positions that Kafka deleted before they were read."""

INCONNU = "inconnu"
"""The group of a sale whose product, category, country or segment is missing."""

REJECTIONS: tuple[str, ...] = tuple(Motif)

FIELDS: tuple[Field, ...] = (
    Field("vente_id", Kind.INTEGER, Motif.VENTE_ID_ABSENT, "identifies the sale; a second one is a duplicate"),
    Field("client_id", Kind.INTEGER, Motif.CLIENT_ID_ABSENT, "who bought"),
    Field("produit_id", Kind.INTEGER, None, "what was bought"),
    Field("timestamp", Kind.TIMESTAMP, Motif.TIMESTAMP_ABSENT, "when; ISO 8601, UTC unless it has an offset"),
    Field("quantite", Kind.INTEGER, Motif.QUANTITE_ABSENTE, "how many; more than zero"),
    Field("montant", Kind.MONEY, Motif.MONTANT_ABSENT, "the whole sale's price; zero or more"),
    Field("client_nom", Kind.TEXT, None, "who bought, as a name"),
    Field("produit_nom", Kind.TEXT, None, "what was bought, as a name"),
    Field("categorie", Kind.TEXT, None, "product line"),
    Field("pays", Kind.TEXT, None, "country"),
    Field("segment", Kind.TEXT, None, "customer segment"),
)

FIELD_NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""A sale before this is ``timestamp_hors_bornes``."""

LATEST_AFTER_KAFKA = timedelta(days=1)
"""A sale further than this after its message's Kafka timestamp is ``timestamp_hors_bornes``."""
