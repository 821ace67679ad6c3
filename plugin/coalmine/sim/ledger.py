"""What the engine was asked and how it ended: counts, and the last requests one by one."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from coalmine.sim.faults import Outcome

KEPT = 10_000
_MESSAGE_CHARACTERS = 80


@dataclass(slots=True)
class Entry:
    """One request; `outcome` is "running" until it has ended."""

    n: int  # counts from 1, in order of arrival
    path: str
    session: str | None  # the header x-coalmine-session
    model: str | None = None  # the name that was asked for
    outcome: str = Outcome.RUNNING.value
    message: str = ""  # the beginning of the user's last message


class Ledger:
    """Keeps the last 10 000 requests and how many ended in which outcome."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything; requests still running are no longer counted."""
        self._total = 0
        self._ended: Counter[str] = Counter()
        self._recent: deque[Entry] = deque(maxlen=KEPT)
        self._open: set[int] = set()

    def arrive(self, path: str, session: str | None) -> Entry:
        """Note a request that has just come in."""
        self._total += 1
        entry = Entry(self._total, path, session)
        self._recent.append(entry)
        self._open.add(id(entry))
        return entry

    def describe(self, entry: Entry, model: str | None, message: str) -> None:
        """Add what the body said, once it is read."""
        entry.model = model
        entry.message = message[:_MESSAGE_CHARACTERS]

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Note how a request ended."""
        entry.outcome = outcome.value
        # A request from before a reset must not show up in the counts after it.
        if id(entry) in self._open:
            self._open.discard(id(entry))
            self._ended[outcome.value] += 1

    def snapshot(self, last: int = KEPT) -> dict[str, Any]:
        """Counts by outcome, and the `last` requests, oldest first."""
        recent = list(self._recent)[max(0, len(self._recent) - last) :] if last > 0 else []
        return {
            "total": self._total,
            "running": len(self._open),
            "outcomes": dict(self._ended),
            "requests": [asdict(entry) for entry in recent],
        }
