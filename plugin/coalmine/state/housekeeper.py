"""One thread that keeps a store's files tidy, away from the calls that somebody waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from coalmine.state.errors import StateError

log = logging.getLogger("coalmine.state")

JOIN = 0.5
"""Seconds that a close waits for the thread; what it leaves undone the next one does."""


@dataclass(slots=True)
class Chore:
    """Something to be done again and again.

    Attributes:
        every: seconds between two times.
        act: does it; a StateError or OSError is logged, once while it stays the same.
        due: monotonic time of the next.
        failed: the last error's message, empty after a success.
    """

    every: float
    act: Callable[[], None]
    due: float = 0.0
    failed: str = ""


class Housekeeper:
    """Runs chores in a daemon thread until it is closed."""

    def __init__(self, *chores: Chore) -> None:
        self._chores = chores
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="coalmine-state", daemon=True)
        self._thread.start()

    def hurry(self, chore: Chore) -> None:
        """Run one chore soon."""
        chore.due = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            for chore in self._chores:
                now = time.monotonic()
                if now >= chore.due and not self._closed:
                    chore.due = now + chore.every
                    self._do(chore)
            soonest = min(chore.due for chore in self._chores)
            self._wake.wait(max(0.0, soonest - time.monotonic()))
            self._wake.clear()

    def _do(self, chore: Chore) -> None:
        try:
            chore.act()
        except (StateError, OSError) as error:
            if str(error) != chore.failed and not self._closed:
                log.warning("housekeeping of the state failed: %s", error)
            chore.failed = str(error)
        else:
            chore.failed = ""

    def close(self) -> None:
        """End the thread; what it is doing may be finished first, within a moment."""
        self._closed = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN)
