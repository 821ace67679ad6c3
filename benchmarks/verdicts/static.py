"""Static rules, as most people would write them: thresholds over a few minutes, each minute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from benchmarks.verdicts.judge import Finding
from benchmarks.verdicts.minutes import Minute, MinuteJudge

TWICE, TWICE_OVER = 2.0, 2
"""The candidate's error rate is more than so many times stable's, over so many minutes."""
MOST, MOST_OVER = 0.05, 3
"""It is more than this share."""
SLOWER, SLOWER_OVER, PERCENTILE = 1.3, 5, 0.95
"""This percentile of its times to first token is more than so many times stable's."""


class Static(MinuteJudge):
    """Rolls back as soon as one of the three rules is broken.

    Args:
        name: what it is called.
        least: conversations of the candidate in a rule's minutes below which it says nothing.
    """

    def __init__(self, name: str, least: int) -> None:
        super().__init__(keep=max(TWICE_OVER, MOST_OVER, SLOWER_OVER))
        self.name = name
        self._least = least

    def look(self, past: Sequence[tuple[Minute, Minute]]) -> Finding | None:
        """Judge the minutes of stable and of the candidate, the oldest first."""
        pairs = list(past)
        if self._enough(pairs[-TWICE_OVER:], TWICE_OVER):
            stable, candidate = _arms(pairs[-TWICE_OVER:])
            if _errors(candidate) > TWICE * _errors(stable):
                return "errors > 2x"
        if self._enough(pairs[-MOST_OVER:], MOST_OVER):
            _, candidate = _arms(pairs[-MOST_OVER:])
            if _errors(candidate) > MOST:
                return "errors > 5 %"
        if self._enough(pairs[-SLOWER_OVER:], SLOWER_OVER):
            stable, candidate = _arms(pairs[-SLOWER_OVER:])
            if _percentile(candidate) > SLOWER * _percentile(stable):
                return "ttft p95 +30 %"
        return None

    def _enough(self, pairs: list[tuple[Minute, Minute]], minutes: int) -> bool:
        conversations = {name for _, candidate in pairs for name in candidate.conversations}
        return len(pairs) == minutes and len(conversations) >= self._least


def _arms(pairs: list[tuple[Minute, Minute]]) -> tuple[list[Minute], list[Minute]]:
    return [stable for stable, _ in pairs], [candidate for _, candidate in pairs]


def _errors(minutes: list[Minute]) -> float:
    attempts = sum(minute.attempts for minute in minutes)
    return sum(minute.failures for minute in minutes) / attempts if attempts else 0.0


def _percentile(minutes: list[Minute]) -> float:
    for minute in minutes:
        minute.ttft.sort()  # sorting sorted runs together is quick
    values = sorted(chain.from_iterable(minute.ttft for minute in minutes))
    return values[math.ceil(PERCENTILE * len(values)) - 1] if values else 0.0
