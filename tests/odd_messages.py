"""Messages that are sales, or nearly: what a random producer with a grudge would send. Made from a seed alone."""

import json
import random
from datetime import UTC, datetime, timedelta

DEEPEST = 1_500
"""How deep a value is nested at most."""
NOW = datetime(2025, 12, 22, 14, 35, 30, tzinfo=UTC)

SALE = {
    "vente_id": "42",
    "client_id": "3",
    "produit_id": "101",
    "timestamp": '"2025-12-22T14:35:27.123456"',
    "quantite": "2",
    "montant": "1799.98",
    "client_nom": '"John Smith"',
    "produit_nom": '"Ordinateur portable"',
    "categorie": '"Electronique"',
    "pays": '"UK"',
    "segment": '"Entreprise"',
}
NUMBERS = ("vente_id", "client_id", "produit_id", "quantite", "montant")
EDGES = [0, 1, 5, 49, 50, 99, 995, *(10**n for n in (15, 16, 18, 19, 38)), *(2**n for n in (31, 53, 62, 63, 64))]
"""Numbers near which something changes."""
TOKENS = [
    *"{}[],:\"\\/<>-+.eE0159tfn' \n\t\r\x00\x0b\x0c\x1f\x7f\x85\xa0\u2028\ufeff\uffff\U0010ffffé\u0301٣",
    *("null", "true", "false", "NaN", "nan", "Infinity", "-inf", "inf", ",}", ",]", "//", "/*", "*/"),
    *("e-", "E+400", "1e400", ".0", ".005", "<>", "<42>", '"<>vente_id"'),
    *(r"\u0000", r"\ud83d\ude00", r"\ud800", r"\udc00", r"\u0022", r"\u005c", r"\"", r"\\"),
    "0" * 20,
    "9" * 20,
]
BROKEN = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\xf0\x9f\x98", b"\x80", b"\xfe\xff"]
SPACES = [*["", " "] * 30, *["\n", "\t\r\n "] * 10, "\x0b", "\xa0"]


class Maker:
    """Makes messages; every choice comes from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def number(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.3:
            return str(rng.choice((1, -1)) * (rng.choice(EDGES) + rng.randint(-2, 2)))
        if kind < 0.4:
            return repr(rng.choice((1, 100, 1e6, 1e17, 1e300)) * rng.random())
        if kind < 0.55:  # an ordinary amount, and something far behind the point
            tail = "0" * rng.randint(0, 16) + rng.choice(("", "1", "5", self.digits(3)))
            return f"{rng.randrange(10 ** rng.randint(1, 7))}.{rng.randrange(100):02}{tail}"
        digits = str(rng.choice(EDGES)) if rng.random() < 0.3 else self.digits(rng.choice((1, 2, 3, 6, 15, 17, 20, 40)))
        text = digits.lstrip("0") or "0"
        if rng.random() < 0.6:
            text += "." + self.digits(rng.choice((1, 2, 3, 4, 9, 10, 16, 30))) + "0" * rng.choice((0, 0, 1, 12))
        if rng.random() < 0.4:
            text += rng.choice("eE") + rng.choice(("", "+", "-")) + self.exponent()
        if rng.random() < 0.1:
            text = "0." + "0" * rng.randint(0, 40) + digits
        return rng.choice(("", "", "-")) + text

    def digits(self, count: int) -> str:
        return "".join(self.rng.choice("0000123456789995") for _ in range(count))

    def exponent(self) -> str:
        rng = self.rng
        return "0" * rng.choice((0, 0, 0, 3)) + str(
            rng.choice((rng.randint(0, 25), rng.randint(0, 400), 10**10, 2**63))
        )

    def timestamp(self) -> str:
        rng = self.rng
        if rng.random() < 0.4:
            moment = NOW + timedelta(microseconds=rng.randint(-2, 2)) + rng.choice((-1, 0, 1)) * timedelta(days=1)
        else:
            moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randint(0, 315537897599999999))
        text = moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%d") + rng.choice("TTT t_")
        text += rng.choice((moment.strftime("%H:%M:%S"), moment.strftime("%H:%M"), "24:00:00", "23:59:60", "00:00"))
        text += rng.choice(("", f".{moment.microsecond:06}", "." + self.digits(rng.randint(1, 9)), ".000000000"))
        text += rng.choice(("", "", "Z", "+02:00", "-0530", "+14", "-23:59", "+24", "+00:60", "z", " Z", "+1", "-00"))
        if rng.random() < 0.15:
            place = rng.randrange(len(text))
            text = text[:place] + rng.choice(("", "0", "9", "-", "٣", " ", "\x00")) + text[place + 1 :]
        return text

    def text(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.3:
            return rng.choice((self.number, self.timestamp))()
        if kind < 0.6:
            return "".join(rng.choice(TOKENS) for _ in range(rng.randint(0, 5)))
        if kind < 0.9:
            limit = rng.choice((0x7F, 0x7FF, 0xD7FF, 0xFFFF if rng.random() < 0.1 else 0x2FFF))
            return "".join(chr(rng.randint(0, limit)) for _ in range(rng.randint(0, 12)))
        return rng.choice(("true", "false", "null", "[]", "{}", "[1, 2]", "<>", "<1>", "-", "inconnu"))

    def string(self) -> str:
        """JSON of a text, written in one of the ways that JSON has, or nearly."""
        rng = self.rng
        text = self.text()
        if rng.random() < 0.3:
            return "".join(
                ('"', *(f"\\u{ord(c):04x}" if ord(c) < 0x10000 and rng.random() < 0.5 else c for c in text), '"')
            )
        return json.dumps(text, ensure_ascii=rng.random() < 0.5)

    def value(self, depth: int = 0) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return self.number()
        if kind < 0.5:
            return self.string()
        if kind < 0.65:
            return rng.choice(("null", "true", "false", "-0", "[]", "{}", '""'))
        if kind < 0.7:
            return rng.choice(("NaN", "-Infinity", "01", "1.", ".5", "+1", "'a'", "tru", ""))
        if depth > 3:
            return "0"
        if kind < 0.72:
            count = rng.choice((2, 50, DEEPEST))
            return rng.choice(("[" * count + "]" * count, '{"a":' * count + self.number() + "}" * count))
        if kind < 0.725:
            return rng.choice(('"' + "x" * 100_000 + '"', "1" + "0" * 5_000, "0." + "0" * 5_000 + "1", "9" * 30_000))
        comma, colon = self.separator(","), self.separator(":")
        items = [self.value(depth + 1) for _ in range(rng.randint(0, 3))]
        if kind < 0.85:
            return "[" + comma.join(items) + rng.choice(("",) * 30 + (",",)) + "]"
        return "{" + comma.join(self.key() + colon + item for item in items) + rng.choice(("",) * 30 + (",",)) + "}"

    def of_field(self, name: str) -> str:
        rng = self.rng
        if rng.random() < 0.2:
            return self.value()
        if name in NUMBERS:
            return self.number() if rng.random() < 0.7 else json.dumps(self.number())
        return json.dumps(self.timestamp()) if name == "timestamp" else self.string()

    def key(self) -> str:
        rng = self.rng
        name = rng.choice((*SALE, "autre"))
        kind = rng.random()
        if kind < 0.1:
            name = rng.choice((name.upper(), name + " ", "<>" + name, name + "\x00", name[:-1], f"<{name}>", ""))
        text = json.dumps(name)
        if kind > 0.9:
            place = rng.randrange(len(name)) if name else 0
            text = text.replace(name[place : place + 1], f"\\u{ord(name[place]):04X}", 1) if name else text
        return text

    def separator(self, mark: str) -> str:
        return self.rng.choice(SPACES) + mark + self.rng.choice(SPACES)

    def document(self) -> bytes:
        """A sale with some fields changed, removed or repeated, and odd spaces."""
        rng = self.rng
        fields = [(json.dumps(name), text) for name, text in SALE.items()]
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            place = rng.randrange(len(fields) + 1)
            kind = rng.random()
            if kind < 0.7 and place < len(fields):
                key, _ = fields[place]
                fields[place] = key, self.of_field(key.strip('"'))
            elif kind < 0.8 and place < len(fields):
                del fields[place]
            else:
                key = self.key()
                fields.insert(place, (key, self.of_field(key.strip('"'))))
        if rng.random() < 0.1:
            rng.shuffle(fields)
        comma, colon = (", ", ": ") if rng.random() < 0.5 else (self.separator(","), self.separator(":"))
        text = "{" + comma.join(key + colon + value for key, value in fields) + "}"
        return (rng.choice(SPACES) + text + rng.choice(SPACES)).encode("utf-8", "surrogatepass")

    def spoilt(self, payload: bytes, other: bytes) -> bytes:
        """A few bytes changed, lost, repeated, put in, or taken from another message."""
        rng = self.rng
        data = bytearray(payload)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            place = rng.randint(0, len(data))
            end = min(place + rng.choice((1, 1, 2, 5, 30)), len(data))
            match rng.randrange(8):
                case 0 if place < len(data):
                    data[place] ^= 1 << rng.randrange(8)
                case 1 if place < len(data):
                    data[place] = rng.randrange(256)
                case 2:
                    del data[place:end]
                case 3:
                    data[place:place] = data[place:end]
                case 4:
                    data[place:end] = rng.choice(TOKENS).encode("utf-8", "surrogatepass")
                case 5:
                    data[place:place] = rng.choice(TOKENS).encode("utf-8", "surrogatepass")
                case 6:
                    data[place:place] = rng.choice(BROKEN)
                case 7:
                    start = rng.randint(0, len(other))
                    data[place:end] = other[start : start + rng.choice((3, 10, 60))]
        return bytes(data)

    def kafka_ms(self) -> int:
        """Kafka's timestamp; -1 is what a message without one has."""
        rng = self.rng
        now_ms = int(NOW.timestamp() * 1000)
        return rng.choice((now_ms, now_ms, now_ms + rng.randint(-1, 1), rng.randint(0, 2**43), -1, 2**62))
