"""Looking at something again and again, in a thread of its own."""

import threading
from collections.abc import Callable


class Watching:
    """
    :param look: one turn; an error of it ends the thread
    :param wait_s: how long to wait before the next turn, asked before each wait
    :param is_prompt: the first turn comes before the first wait
    """

    def __init__(
        self, name: str, look: Callable[[], object], wait_s: Callable[[], float], *, is_prompt: bool = False
    ) -> None:
        self._look = look
        self._wait_s = wait_s
        self._is_prompt = is_prompt
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; a turn that takes long is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        if self._is_prompt:
            self._look()
        while not self._stop.wait(self._wait_s()):
            self._look()
