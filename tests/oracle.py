"""The witness: every figure computed again in plain Python, a message at a time, with names typed out by hand.

Tests hold the pipeline against it, so it shares no code with it. It knows JSON, decimals and dates from the standard
library only, and is as slow and as obvious as can be.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

INTEGERS = ("vente_id", "client_id", "produit_id", "quantite")
TEXTS = ("client_nom", "produit_nom", "categorie", "pays", "segment")
FIELDS = (
    "vente_id",
    "client_id",
    "produit_id",
    "timestamp",
    "quantite",
    "montant",
    "client_nom",
    "produit_nom",
    "categorie",
    "pays",
    "segment",
)
ABSENCES = {
    "vente_id": "vente_id_absent",
    "client_id": "client_id_absent",
    "montant": "montant_absent",
    "quantite": "quantite_absente",
    "timestamp": "timestamp_absent",
}
REJECTIONS = (
    "message_vide",
    "json_invalide",
    "vente_id_absent",
    "client_id_absent",
    "montant_absent",
    "quantite_absente",
    "timestamp_absent",
    "type_invalide",
    "montant_negatif",
    "quantite_non_positive",
    "timestamp_hors_bornes",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# ---- One message ----------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?")
TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:(Z)|([-+])(\d\d)(?::?(\d\d))?)?", re.ASCII
)
LARGEST_MONTANT = Decimal("9999999999999999.99")


@dataclass(frozen=True)
class Number:
    """A JSON number as it was written."""

    text: str


@dataclass(frozen=True)
class Outcome:
    """What a message is.

    :param fields: the typed value of each field, None where it is absent or cannot be held
    :param motif: why it is rejected; None where it is valid (or a duplicate, which one message alone cannot tell)
    :param rounded: whether montant had more than two decimals
    :param jour: the day under which Bronze keeps it
    """

    fields: dict[str, Any]
    motif: str | None
    rounded: bool
    jour: date


class NotJsonError(ValueError):
    """The payload is no JSON object."""


def classify(payload: bytes | None, kafka_timestamp: datetime) -> Outcome:
    fields: dict[str, Any] = dict.fromkeys(FIELDS)
    if not payload:
        return Outcome(fields, "message_vide", False, kafka_timestamp.date())
    try:
        raw = parse(payload)
    except NotJsonError:
        return Outcome(fields, "json_invalide", False, kafka_timestamp.date())

    is_typed = True
    rounded = False
    for name in FIELDS:
        if raw.get(name) is None:
            continue
        try:
            if name in INTEGERS:
                fields[name] = read_integer(raw[name])
            elif name in TEXTS:
                fields[name] = read_text(raw[name])
            elif name == "timestamp":
                fields[name] = read_timestamp(raw[name])
            else:
                fields[name], rounded = read_montant(raw[name])
        except ValueError:
            is_typed = False

    timestamp = fields["timestamp"]
    is_in_bounds = (
        timestamp is not None
        and timestamp >= datetime(2000, 1, 1, tzinfo=UTC)
        and timestamp - kafka_timestamp <= timedelta(days=1)
    )
    motif = None
    absent = [motif for name, motif in ABSENCES.items() if raw.get(name) is None]
    if absent:
        motif = absent[0]
    elif not is_typed:
        motif = "type_invalide"
    elif fields["montant"] < 0:
        motif = "montant_negatif"
    elif fields["quantite"] <= 0:
        motif = "quantite_non_positive"
    elif not is_in_bounds:
        motif = "timestamp_hors_bornes"
    return Outcome(fields, motif, rounded, timestamp.date() if is_in_bounds else kafka_timestamp.date())


def parse(payload: bytes) -> dict[str, Any]:
    """The object, with each number as it was written and the first of duplicate keys.

    :raises NotJsonError: if it is not one
    """
    try:
        value = json.loads(
            payload.decode("utf-8"),
            parse_int=Number,
            parse_float=Number,
            parse_constant=refuse,
            object_pairs_hook=first_of_each_key,
        )
    except ValueError as error:
        raise NotJsonError from error
    if not isinstance(value, dict):
        raise NotJsonError
    refuse_lone_surrogates(value)
    return value


def refuse(literal: str) -> None:
    raise NotJsonError(literal)


def first_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        refuse_lone_surrogates(key)
        refuse_lone_surrogates(value)
        found.setdefault(key, value)
    return found


def refuse_lone_surrogates(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise NotJsonError from error
    elif isinstance(value, list):
        for item in value:
            refuse_lone_surrogates(item)


def read_number(value: Any) -> Decimal:
    """The exact value of a number; one far beyond any column, or far below a cent, stands for all such."""
    text = value.text if isinstance(value, Number) else value
    match = NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(value)
    sign, units, decimals, exponent = match.groups(default="")
    digits = (units + decimals).lstrip("0")
    if not digits:
        return Decimal(0)
    power = Decimal(exponent or "0")  # Python refuses to read an int of thousands of digits
    before_point = len(digits) - len(decimals) + power
    if before_point > 100:
        return Decimal(f"{sign}1e100")
    if before_point < -100:
        return Decimal(f"{sign}1e-100")
    return Decimal(f"{sign}{digits}e{int(power) - len(decimals)}")


def read_integer(value: Any) -> int:
    number = read_number(value)
    integer = int(number)
    if integer != number or not -(2**63) <= integer < 2**63:
        raise ValueError(value)
    return integer


def read_montant(value: Any) -> tuple[Decimal, bool]:
    number = read_number(value)
    wide = Context(prec=len(number.as_tuple().digits) + 200)
    montant = number.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP, context=wide)
    if abs(montant) > LARGEST_MONTANT:
        raise ValueError(value)
    return montant, montant != number


def read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)  # noqa: TRY004 - a caller tells values that cannot be held by this error
    return value


def read_timestamp(value: Any) -> datetime:
    match = TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(value)
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups(default="0")
    if fraction[6:].strip("0") or int(offset_hours) > 23 or int(offset_minutes) > 59:
        raise ValueError(value)
    local = datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second), int(f"{fraction:0<6}"[:6]), tzinfo=UTC
    )
    offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
    try:
        return local + offset if sign == "-" else local - offset
    except OverflowError as error:
        raise ValueError(value) from error


# ---- All messages ---------------------------------------------------------------------------------------------------

Row = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A raw message, and the source partition and offset where it is."""

    partition: int
    offset: int
    kafka_timestamp: datetime
    payload: bytes | None
    topic_id: str = ""


class Oracle:
    """Every Silver table and the quality figures of messages that are given in their total order.

    Tables are lists of rows (dicts by column name) in no promised order, but for ``ventes_clean`` and
    ``ventes_rejetees``, which are in the total order and leave ``sequence`` out: only its order means something. A row
    has ``topic_id`` as its message does. Duplicates are found however far apart.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self.ventes_clean: list[Row] = []
        self.ventes_rejetees: list[Row] = []
        self.outcomes: list[tuple[Message, Outcome, str]] = []
        """Each message with its outcome and ``valide``, ``doublon`` or its motif."""
        counted: dict[int, Message] = {}
        for message in messages:
            outcome = classify(message.payload, message.kafka_timestamp)
            vente_id = outcome.fields["vente_id"]
            result = outcome.motif or ("doublon" if vente_id in counted else "valide")
            self.outcomes.append((message, outcome, result))
            if result == "valide":
                counted[vente_id] = message
                self.ventes_clean.append(clean_row(message, outcome))
            else:
                first = counted[vente_id] if result == "doublon" else None
                self.ventes_rejetees.append(
                    {
                        "motif": result,
                        "vente_id": vente_id,
                        "partition": message.partition,
                        "offset": message.offset,
                        "topic_id": message.topic_id,
                        "kafka_timestamp": message.kafka_timestamp,
                        "compte_partition": first.partition if first else None,
                        "compte_offset": first.offset if first else None,
                        "compte_topic_id": first.topic_id if first else None,
                    }
                )

    @property
    def tables(self) -> dict[str, list[Row]]:
        """Every Silver table by its name, without the manifest."""
        return {
            "ventes_clean": self.ventes_clean,
            "ventes_rejetees": self.ventes_rejetees,
            "hourly_sales": self.hourly_sales,
            "ventes_par_pays": self.ventes_par_pays,
            "ventes_par_produit": self.ventes_par_produit,
            "ventes_par_segment": self.ventes_par_segment,
            "ventes_produit_pays": self.ventes_produit_pays,
            "ventes_par_client": self.ventes_par_client,
            "qualite": self.qualite,
            "top_produits": self.top_produits,
            "ventes_aggreges": self.ventes_aggreges,
        }

    @property
    def hourly_sales(self) -> list[Row]:
        return self._sums((), "heure")

    @property
    def ventes_par_pays(self) -> list[Row]:
        return self._sums(("pays",), "heure")

    @property
    def ventes_par_produit(self) -> list[Row]:
        return self._sums(("produit_nom", "categorie"), "jour")

    @property
    def ventes_par_segment(self) -> list[Row]:
        return self._sums(("segment", "pays"), "jour")

    @property
    def ventes_produit_pays(self) -> list[Row]:
        keys = ("produit_nom", "categorie", "pays")
        new_clients: dict[tuple, int] = defaultdict(int)
        seen = set()
        for sale in self.ventes_clean:
            group = tuple(label(sale[key]) for key in keys)
            client_of_month = (*group, sale["annee"], sale["mois"], sale["client_id"])
            if client_of_month not in seen:
                seen.add(client_of_month)
                new_clients[(*group, sale["timestamp"].date())] += 1
        rows = self._sums(keys, "jour")
        for row in rows:
            row["nouveaux_clients"] = new_clients[tuple(row[key] for key in (*keys, "jour"))]
        return rows

    @property
    def ventes_par_client(self) -> list[Row]:
        groups: dict[tuple, list[Row]] = defaultdict(list)
        for sale in self.ventes_clean:
            groups[sale["client_id"], sale["annee"], sale["mois"]].append(sale)
        return [
            {
                "client_id": client_id,
                "debut_mois": date(annee, mois, 1),
                "ventes_count": len(sales),
                "revenue_total": sum(sale["montant"] for sale in sales),
                "quantite_totale": sum(sale["quantite"] for sale in sales),
                "premiere_vente": min(sale["timestamp"] for sale in sales),
                "derniere_vente": max(sale["timestamp"] for sale in sales),
                "annee": annee,
                "mois": mois,
            }
            for (client_id, annee, mois), sales in groups.items()
        ]

    @property
    def qualite(self) -> list[Row]:
        groups: dict[tuple, list[Outcome]] = defaultdict(list)
        for message, outcome, result in self.outcomes:
            groups[result, hour_of(message.kafka_timestamp)].append(outcome)
        return [
            {
                "motif": result,
                "heure": heure,
                "messages": len(outcomes),
                "montants_arrondis": sum(outcome.rounded for outcome in outcomes),
                **{f"nuls_{name}": sum(outcome.fields[name] is None for outcome in outcomes) for name in FIELDS},
                "annee": heure.year,
                "mois": heure.month,
            }
            for (result, heure), outcomes in groups.items()
        ]

    @property
    def top_produits(self) -> list[Row]:
        return [
            {
                "produit_nom": produit_nom,
                "categorie": categorie,
                "ventes_count": len(sales),
                "revenue_total": sum(sale["montant"] for sale in sales),
                "quantite_moyenne": sum(sale["quantite"] for sale in sales) / len(sales),
            }
            for (produit_nom, categorie), sales in self._groups(("produit_nom", "categorie"), lambda _: ())
        ]

    @property
    def ventes_aggreges(self) -> list[Row]:
        groups = self._groups(("produit_nom", "categorie", "pays"), lambda sale: (sale["annee"], sale["mois"]))
        return [
            {
                "produit_nom": produit_nom,
                "categorie": categorie,
                "pays": pays,
                "annee": annee,
                "mois": mois,
                "nombre_ventes": len(sales),
                "chiffre_affaires": sum(sale["montant"] for sale in sales),
                "panier_moyen": quotient(sum(sale["montant"] for sale in sales), len(sales)),
                "clients_uniques": len({sale["client_id"] for sale in sales}),
            }
            for (produit_nom, categorie, pays, annee, mois), sales in groups
        ]

    @property
    def quality(self) -> dict[str, Any]:
        """The ``data`` of ``/api/quality`` where Kafka deleted nothing; a percentage of no messages is None."""
        results = [result for _, _, result in self.outcomes]
        received = len(results)
        nulls = {name: sum(outcome.fields[name] is None for _, outcome, _ in self.outcomes) for name in FIELDS}
        return {
            "received": received,
            "valid": results.count("valide"),
            "duplicates": results.count("doublon"),
            "rejected": {motif: results.count(motif) for motif in REJECTIONS},
            "rejected_total": sum(results.count(motif) for motif in REJECTIONS),
            "lost": 0,
            "clean_pct": percentage(results.count("valide"), received),
            "rounded": sum(outcome.rounded for _, outcome, _ in self.outcomes),
            "nulls": {
                name: {"count": count, "complete_pct": percentage(received - count, received)}
                for name, count in nulls.items()
            },
        }

    def _groups(self, keys: tuple[str, ...], period: Any) -> list[tuple[tuple, list[Row]]]:
        groups: dict[tuple, list[Row]] = defaultdict(list)
        for sale in self.ventes_clean:
            groups[(*(label(sale[key]) for key in keys), *period(sale))].append(sale)
        return list(groups.items())

    def _sums(self, keys: tuple[str, ...], window: str) -> list[Row]:
        def start(sale: Row) -> tuple:
            return (hour_of(sale["timestamp"]) if window == "heure" else sale["timestamp"].date(),)

        return [
            {
                **dict(zip((*keys, window), group, strict=True)),
                "ventes_count": len(sales),
                "revenue_total": sum(sale["montant"] for sale in sales),
                "quantite_totale": sum(sale["quantite"] for sale in sales),
                "annee": group[-1].year,
                "mois": group[-1].month,
            }
            for group, sales in self._groups(keys, start)
        ]


def clean_row(message: Message, outcome: Outcome) -> Row:
    timestamp = outcome.fields["timestamp"]
    return {
        **outcome.fields,
        "annee": timestamp.year,
        "mois": timestamp.month,
        "jour": timestamp.day,
        "jour_semaine": DAYS[timestamp.weekday()],
        "heure": timestamp.hour,
        "partition": message.partition,
        "offset": message.offset,
        "topic_id": message.topic_id,
    }


def label(value: str | None) -> str:
    return "inconnu" if value is None else value


def hour_of(timestamp: datetime) -> datetime:
    return timestamp.replace(minute=0, second=0, microsecond=0)


def quotient(amount: Decimal, count: int) -> Decimal:
    return (amount / count).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def percentage(part: int, whole: int) -> float | None:
    return float(quotient(Decimal(100 * part), whole)) if whole else None
