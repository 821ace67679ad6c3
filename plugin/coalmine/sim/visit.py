"""A request's presence in the engine: in the ledger, and in the load once it is admitted."""

from __future__ import annotations

from coalmine.sim.faults import Outcome
from coalmine.sim.ledger import Entry, Ledger
from coalmine.sim.meters import Load


class Visit:
    """Begins when a request arrives and ends once, with its outcome.

    It ends before the last byte is sent: a client that has its answer and then asks the engine
    what happened finds the answer counted.
    """

    def __init__(self, ledger: Ledger, load: Load, entry: Entry) -> None:
        self._ledger = ledger
        self._load = load
        self._entry = entry
        self._running = 0
        self._waiting = 0
        self._ended = False

    def describe(self, model: str | None, message: str) -> None:
        """Add what the body said, once it is read."""
        self._ledger.describe(self._entry, model, message)

    def admit(self, *, waits: bool) -> None:
        """It now occupies the engine: as waiting for ever, or as running."""
        self._running, self._waiting = int(not waits), int(waits)
        self._load.running += self._running
        self._load.waiting += self._waiting

    def end(self, outcome: Outcome) -> None:
        """It is over; only the first outcome counts."""
        if self._ended:
            return
        self._ended = True
        self._load.running -= self._running
        self._load.waiting -= self._waiting
        self._ledger.end(self._entry, outcome)
