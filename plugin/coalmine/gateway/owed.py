"""Pins that the shared state is owed: decided and served while it did not answer.

A conversation that gets stable because of a fault has begun there. If the state did not learn of
it, its next turn would look new, be drawn, and could change release without a word. So what could
not be written is kept here, is asked before a conversation is taken for new, and is written as soon
as the state answers again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from coalmine.state import State

BEGINS = 10_000
"""Conversations that began whose pins are kept for the state; more are dropped, and counted."""

ALL = 100_000
"""Pins kept with those of conversations that moved: as many as a worker remembers."""


@dataclass(frozen=True, slots=True)
class Debt:
    """A pin to write.

    Attributes:
        code: the pin.
        held: the pin that it replaces, None when the conversation had none.
        doubtful: a pin that was asked for in vain, and may have been written all the same.
        instead: what is written in the place of that.
    """

    code: int
    held: int | None = None
    doubtful: int | None = None
    instead: int = 0


class Owed:
    """What the state is owed. `add` and `get` are for the event loop, `pay` for another thread.

    Args:
        forget: called with the key of each conversation whose pin was written, as another worker
            may have written one first: the next turn asks the state.
        count: adds to a counter (metric, labels …).
    """

    def __init__(self, forget: Callable[[bytes], None], count: Callable[..., None]) -> None:
        self._forget = forget
        self._count = count
        self._debts: dict[bytes, Debt] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._debts)

    def get(self, key: bytes) -> int | None:
        """Return the pin that a conversation was given meanwhile, None when it was given none."""
        debt = self._debts.get(key)
        return debt.code if debt is not None else None

    def add(self, key: bytes, debt: Debt) -> None:
        """Owe the state a pin; one that is owed already is replaced, not what it replaces."""
        with self._lock:
            before = self._debts.get(key)
            if before is not None:
                self._debts[key] = replace(before, code=debt.code)
                return
            if len(self._debts) < (BEGINS if debt.held is None else ALL):
                self._debts[key] = debt
                return
        self._count("coalmine_dropped_total", "pin")

    def pay(self, state: State, within: float) -> None:
        """Write what is owed, oldest first, for so many seconds at most.

        Raises:
            StateError: the state does not answer; what was not written is still owed.
        """
        end = time.monotonic() + within
        for key, debt in list(self._debts.items()):
            if time.monotonic() > end:
                return
            if debt.held is None or not state.move(key, debt.held, debt.code):
                # Where another has moved it, the claim does nothing; where it is gone, it begins.
                held = state.claim(key, debt.code)
                if held is not None and held == debt.doubtful:
                    state.move(key, held, debt.instead)
            self._written(key, debt)
            self._forget(key)

    def _written(self, key: bytes, debt: Debt) -> None:
        with self._lock:
            newer = self._debts.pop(key, debt)
            if newer is not debt:  # it was moved meanwhile
                self._debts[key] = Debt(newer.code, held=debt.code)


__all__ = ["ALL", "BEGINS", "Debt", "Owed"]
