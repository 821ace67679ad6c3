"""A question about the candidate, and the test that answers it, however often one looks."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from coalmine.guardrails.detector import Detector
from coalmine.guardrails.measure import Measure

GROWTH = 30
"""Minutes over which the growth of the wealth is told."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a test asks.

    Attributes:
        measure: what is compared.
        margin: how much worse the candidate may be: a share of stable's figure (0.1 is 10 %), of
            the score an absolute difference.
        against: False gathers evidence that it is worse by more than the margin; True that it is
            not.
    """

    measure: Measure
    margin: float
    against: bool = False

    @property
    def name(self) -> str:
        """Its name in documents."""
        return f"{self.measure.value}{'<' if self.against else '>'}{self.margin:g}"


def detectors_of(question: Question) -> int:
    """Return how many detectors a question takes, each with a share of α."""
    return 1 if question.against else 2


class SequentialTest:
    """One question and its detectors."""

    def __init__(self, question: Question, detectors: list[Detector]) -> None:
        self.question = question
        self.detectors = detectors
        self._minutes: deque[tuple[float, float]] = deque(maxlen=GROWTH + 1)

    @property
    def leading(self) -> Detector:
        """The detector with the largest wealth, of those that have heard anything."""
        return max(self.detectors, key=lambda detector: (any(detector.counts.units),
                                                         detector.wealth.total))

    @property
    def wealth(self) -> float:
        """The largest wealth."""
        return max(detector.wealth.total for detector in self.detectors)

    @property
    def units(self) -> tuple[int, int]:
        """Conversations that told something, on stable and on the candidate."""
        most = max(self.detectors, key=lambda detector: sum(detector.counts.units))
        return most.counts.units[0], most.counts.units[1]

    def one_caller(self, bar: float, enough: float) -> tuple[str, float] | None:
        """Return the caller without whom nothing is shown, and the leading wealth without him.

        None when a detector that has reached the bar would still have enough without the one who
        did most for it.
        """
        for detector in self.detectors:
            if detector.wealth.total >= bar:
                worst = detector.wealth.without_worst()
                if worst is None or worst[1] >= enough:
                    return None
        return self.leading.wealth.without_worst()

    def note(self, now: float) -> None:
        """Remember the wealth of this minute."""
        if not self._minutes or now - self._minutes[-1][0] >= 60.0:
            self._minutes.append((now, math.log(max(self.wealth, 1e-300))))

    def seconds_to(self, bar: float, now: float) -> float | None:
        """Return in how many seconds the bar is reached if all goes on as it did, None if never.

        (ln bar − ln wealth) / growth, the growth being that of the last half hour.
        """
        wealth = math.log(max(self.wealth, 1e-300))
        if not self._minutes or now - self._minutes[0][0] < 60.0:
            return None
        since, then = self._minutes[0]
        growth = (wealth - then) / (now - since)
        return max(0.0, (math.log(bar) - wealth) / growth) if growth > 0.0 else None
