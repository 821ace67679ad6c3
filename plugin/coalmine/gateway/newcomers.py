"""How many new conversations one caller may begin."""

from __future__ import annotations

from collections import Counter

NEW_A_MINUTE = 3000
"""New conversations of one key that a worker takes in a minute. More get stable and no pin: a pin
outlives its request by a day, and nobody may fill the state."""


class Newcomers:
    """The conversations that began in this minute, by caller."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._minute = -1

    def too_many(self, caller: str, now: float) -> bool:
        """Count a new conversation of a caller's; say whether it is one too many."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._begun.clear()
        self._begun[caller] += 1
        return self._begun[caller] > NEW_A_MINUTE
