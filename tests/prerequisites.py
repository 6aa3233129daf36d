"""What tests need beyond this repository and its ``.venv``: ``python tests/prerequisites.py`` brings what is missing.

What cannot be had is said before all else. Then every test that does without is run, and in the place of those that do
not is one that fails and says how many they are, and why: the run ends with that failure alone, by name.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NoReturn

import chromium
import pytest
from chaos import lake_volume

from salesviews.errors import BrokerError
from salesviews.machine import broker


@dataclass(frozen=True)
class Prerequisite:
    """
    :param fixture: tests that have this fixture need it
    :param obstacle: why it is not here; empty where it is
    :param bring: the same, once it was tried to bring it
    """

    name: str
    fixture: str
    obstacle: Callable[[], str]
    bring: Callable[[], str]


def _chromium(get: Callable[[], object]) -> Callable[[], str]:
    def obstacle() -> str:
        try:
            get()
        except chromium.ChromiumError as error:
            return f"{error}\nInstall Chromium, Chrome or Edge, or name one: BROWSER=/path/to/it"
        return ""

    return obstacle


@cache
def _kafka() -> str:
    try:
        broker.download()
    except BrokerError as error:
        return str(error)
    return ""


def _full_disk() -> str:
    try:
        lake_volume.rights()
    except OSError as error:
        return f"A small file system cannot be mounted, to be made full: {error}"
    return ""


PREREQUISITES = (
    Prerequisite("chromium", "browser", _chromium(chromium.find), _chromium(chromium.bring)),
    Prerequisite("kafka", "start_broker", _kafka, _kafka),
    Prerequisite("full disk", "full_disk", _full_disk, _full_disk),
)


class Missing(pytest.Item):
    """Fails in the place of the tests that need something that is not here."""

    def __init__(self, *, reason: str, tests: int, **options: object) -> None:
        super().__init__(**options)
        self._reason = reason
        self._tests = tests

    def runtest(self) -> NoReturn:
        pytest.fail(f"{self._tests} tests were not run, as they need what is not here: {self._reason}", pytrace=False)

    def reportinfo(self) -> tuple[str, None, str]:
        return "prerequisites", None, self.name


def replace_missing(session: pytest.Session, items: list[pytest.Item]) -> None:
    """In the place of the tests that need what is not here put one that fails."""
    for each in PREREQUISITES:
        needing = [item for item in items if each.fixture in getattr(item, "fixturenames", ())]
        if needing and (reason := each.obstacle()):
            items[:] = [item for item in items if item not in needing]
            place = f"prerequisites::{each.name}"
            items.append(Missing.from_parent(session, name=each.name, nodeid=place, reason=reason, tests=len(needing)))


def main() -> None:
    """Bring what is missing; the status is 1 where something still is."""
    logging.basicConfig(level=logging.WARNING)
    missing = {each.name: reason for each in PREREQUISITES if (reason := each.bring())}
    for name, reason in missing.items():
        print(f"NOT HERE: {name}. What needs it is not tested, and the tests fail for that in the end.\n{reason}\n")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
