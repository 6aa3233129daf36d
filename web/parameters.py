"""Query parameters, declared as values: name, how its text is read, whether it may be repeated, what it does.

What a route does not declare is refused: a misspelt filter that is ignored would give a number that looks filtered.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.datastructures import MultiDict

from salesviews.errors import ParameterError


@dataclass(frozen=True)
class Kind:
    """How the text of a value is read.

    :param read: text to value; raises ValueError with what was expected
    :param schema: JSON Schema of the values that are taken
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any]

    def __call__(self, text: str) -> Any:
        return self.read(text)


@dataclass(frozen=True)
class Parameter:
    """One query parameter.

    :param read: how its text is read
    :param default: the value where it is not given; () where it is repeatable
    :param example: a value that can be given
    :param is_required: it must be given
    """

    name: str
    read: Kind
    doc: str
    default: Any = None
    is_repeatable: bool = False
    example: str | int | None = None
    is_required: bool = False


def read(declared: Sequence[Parameter], given: MultiDict[str, str]) -> dict[str, Any]:
    """The value of each declared parameter; a tuple of values where it is repeatable.

    :raises ParameterError: naming the first that is unknown, repeated, or cannot be read
    """
    names = [parameter.name for parameter in declared]
    for name in given:
        if name not in names:
            known = f"the parameters here are {', '.join(names)}" if names else "there are no parameters here"
            raise ParameterError(name, f"There is no parameter {name!r}: {known}.")
    return {parameter.name: _value(parameter, given.getlist(parameter.name)) for parameter in declared}


def _value(parameter: Parameter, texts: list[str]) -> Any:
    if len(texts) > 1 and not parameter.is_repeatable:
        raise ParameterError(parameter.name, f"{parameter.name} is given {len(texts)} times: it takes one value.")
    values = []
    for text in texts:
        try:
            values.append(parameter.read(text))
        except ValueError as error:
            raise ParameterError(
                parameter.name, f"{parameter.name}={text!r} cannot be used: it takes {error}."
            ) from None
    if parameter.is_required and not values:
        raise ParameterError(parameter.name, f"{parameter.name} is missing: {parameter.doc}.")
    if parameter.is_repeatable:
        return tuple(values)
    return values[0] if values else parameter.default


def _text(text: str) -> str:
    return text


text = Kind(_text, {"type": "string"})
"""Takes any text."""


def whole_number(least: int, most: int) -> Kind:
    """Reads a whole number from ``least`` to ``most``."""

    def read_number(text: str) -> int:
        # More digits than `most` has are never read: int() of a very long text is slow.
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not is_number or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return Kind(read_number, {"type": "integer", "minimum": least, "maximum": most})


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(2**63))
    if not is_number or not -(2**63) <= int(text) < 2**63:
        raise ValueError("a whole number of 64 bits")
    return int(text)


integer = Kind(_integer, {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1})
"""Reads any whole number of 64 bits."""


def one_of(names: Sequence[str]) -> Kind:
    """Takes one of some words."""

    def read_word(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return text

    return Kind(read_word, {"type": "string", "enum": list(names)})


def some_of(names: Sequence[str], prefix: str = "") -> Kind:
    """Reads some of some words, with commas between them, as a tuple; empty text is none of them.

    :param prefix: a character that may stand before each
    """
    known = ", ".join(names) if names else "nothing, as there is nothing to choose from"
    may = f", each with {prefix} before it or not" if prefix and names else ""

    def read_words(text: str) -> tuple[str, ...]:
        words = tuple(text.split(",")) if text else ()
        for word in words:
            if word.removeprefix(prefix) not in names:
                raise ValueError(f"some of {known}, with commas between{may}")
        if len({word.removeprefix(prefix) for word in words}) < len(words):
            raise ValueError("each name once")
        return words

    word = f"{re.escape(prefix)}?" if prefix else ""
    choice = f"{word}({'|'.join(map(re.escape, names))})"
    pattern = f"^({choice}(,{choice})*)?$" if names else "^$"
    return Kind(read_words, {"type": "string", "pattern": pattern})


_YEARS = range(2, 9999)
"""A year away from the first and last that a datetime can hold, so that no range around a moment leaves them."""


@dataclass(frozen=True)
class Moment:
    """A date or an instant, as the start of the time it names and the start of what comes after it.

    :param end: of a date, the next midnight; of an instant, the instant itself
    """

    start: datetime
    end: datetime


def _date(text: str) -> Moment:
    try:
        start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        day = Moment(start, start + timedelta(days=1))
    except (ValueError, OverflowError):
        day = None
    # strptime takes 2025-1-2 too; one way to write a date is enough.
    if day is None or len(text) != len("2025-12-22") or day.start.year not in _YEARS:
        raise ValueError("a date, such as 2025-12-22")
    return day


date = Kind(_date, {"type": "string", "format": "date"})
"""Reads a date of UTC, ``2025-12-22``, as a ``Moment``."""


def _moment(text: str) -> Moment:
    try:
        if "T" not in text:
            return _date(text)
        instant = datetime.fromisoformat(text)
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or instant.year not in _YEARS:
        raise ValueError(
            "a date, such as 2025-12-22, or an instant, such as 2025-12-22T10:00:00Z (in an address, + is written %2B)"
        )
    return Moment(instant, instant)


moment = Kind(_moment, {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]})
"""Reads a date, or an instant of ISO 8601 (UTC, unless it has an offset), as a ``Moment``."""
