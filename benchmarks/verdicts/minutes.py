"""The last minutes of both arms, for judges that look once a minute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from benchmarks.verdicts.judge import Finding
from coalmine.sim.scenarios import Event

MINUTE = 60.0


class Minute:
    """What one arm did within one minute."""

    __slots__ = ("attempts", "conversations", "failures", "measures", "ttft")

    def __init__(self) -> None:
        self.attempts = 0
        self.failures = 0
        self.conversations: set[str] = set()
        self.ttft: list[float] = []
        self.measures: dict[str, list[float]] = {"inter_token": [], "score": []}

    def add(self, event: Event) -> None:
        """Count an attempt."""
        self.attempts += 1
        self.failures += event["outcome"] != "ok"
        self.conversations.add(event["conversation"])
        if "ttft" in event:
            self.ttft.append(event["ttft"])
        for measure, values in self.measures.items():
            if measure in event:
                values.append(event[measure])


class MinuteJudge(ABC):
    """A judge that looks at whole minutes, each time that one has ended.

    Args:
        keep: how many minutes it looks back.
    """

    def __init__(self, keep: int) -> None:
        self._past: deque[tuple[Minute, Minute]] = deque(maxlen=keep)
        self._stable, self._candidate = Minute(), Minute()
        self._end = MINUTE

    def take(self, event: Event) -> Finding | None:
        """Return what was found, None while there is nothing."""
        found = None
        while event["t"] >= self._end and found is None:
            self._end += MINUTE
            self._past.append((self._stable, self._candidate))
            self._stable, self._candidate = Minute(), Minute()
            found = self.look(self._past)
        if "outcome" in event:
            (self._candidate if event["arm"] == "candidate" else self._stable).add(event)
        return found

    @abstractmethod
    def look(self, past: Sequence[tuple[Minute, Minute]]) -> Finding | None:
        """Judge the minutes of stable and of the candidate, the oldest first."""
