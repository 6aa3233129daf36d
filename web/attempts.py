"""Slows down who tries tokens: each address may fail a few times at once, and then once a second."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

AT_ONCE = 10
INTERVAL_S = 1.0
_ADDRESSES = 10_000
"""That are remembered; those that failed longest ago are forgotten first."""


class Attempts:
    """The failures of each address. For several threads.

    :param elapsed_s: seconds since any fixed moment
    :param at_once: how many failures cost no time
    """

    def __init__(self, elapsed_s: Callable[[], float] = time.monotonic, at_once: int = AT_ONCE) -> None:
        self._elapsed_s = elapsed_s
        self._at_once = at_once
        self._changing = threading.Lock()
        self._forgiven_at_s: OrderedDict[str, float] = OrderedDict()
        """When nothing will be held against an address any more: each failure moves it by an interval."""

    def wait_s(self, address: str) -> float:
        """For how long no attempt of an address is looked at; 0 where it is.

        That is so for the right token too: else whoever tries them all would never have to wait.
        """
        with self._changing:
            left_s = self._forgiven_at_s.get(address, 0.0) - self._elapsed_s()
        return max(left_s - (self._at_once - 1) * INTERVAL_S, 0.0)

    def fail(self, address: str) -> None:
        with self._changing:
            now_s = self._elapsed_s()
            self._forgiven_at_s[address] = max(self._forgiven_at_s.pop(address, 0.0), now_s) + INTERVAL_S
            while len(self._forgiven_at_s) > _ADDRESSES:
                self._forgiven_at_s.popitem(last=False)
