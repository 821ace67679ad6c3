"""Sample-ratio check: do the conversations that arrive on each arm fit the chances they were given?

If not, something between the draw and the counting treats the arms differently (a candidate whose
attempts are lost, a client that drops one arm), and every comparison of them is doubtful. Each new
conversation is a bet with the odds of its own chance, so changing weights are exact.

A conversation is known when its first attempt has ended, later on the slower arm: at any moment
that arm would seem to lack some. So each is counted some time after it was asked for
(:attr:`.units.Unit.ends`), when those of both arms that were asked for before it are known.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coalmine.guardrails.wealth import Wealth

RATIOS = (0.5, 0.7, 0.85, 1.2, 1.5, 2.0)
"""How many times likelier the candidate may in truth be than it should."""

BAR = 1000.0
"""Evidence from which on the split does not fit: once in a thousand rollouts by chance."""


@dataclass(frozen=True, slots=True)
class Split:
    """What is known of the split.

    Attributes:
        conversations: those counted.
        candidate: those that the candidate has.
        expected: those that it should have.
        evidence: that the split does not fit, 1 at the beginning.
        left_out: attempts that were no evidence though their conversation had a chance, by reason.
    """

    conversations: int
    candidate: int
    expected: float
    evidence: float
    left_out: Mapping[str, int]


class SampleRatio:
    """The split of one rollout.

    Args:
        horizon: seconds over which a late mismatch is provided for.
    """

    def __init__(self, horizon: float) -> None:
        self.wealth = Wealth([1 / len(RATIOS)] * len(RATIOS), horizon=horizon)
        self.candidate = 0
        self.expected = 0.0
        self.units = 0
        self._new: list[tuple[float, bool, float]] = []

    def add(self, counted: float, *, candidate: bool, chance: float) -> None:
        """A conversation has begun.

        Args:
            counted: unix time at which it is counted.
            candidate: whether the candidate has it; chance: its chance of that.
        """
        heapq.heappush(self._new, (counted, candidate, chance))

    def pass_time(self, now: float) -> None:
        """Count the conversations whose time has come."""
        while self._new and self._new[0][0] <= now:
            _, candidate, chance = heapq.heappop(self._new)
            self.units += 1
            self.candidate += candidate
            self.expected += chance
            self.wealth.bet(RATIOS, candidate=candidate, null=chance)
        self.wealth.pass_time(now)

    @property
    def broken(self) -> bool:
        """Whether the split does not fit."""
        return self.wealth.total >= BAR

    @property
    def sentence(self) -> str:
        """The same in words."""
        return (f"the candidate got {self.candidate} of {self.units} conversations where "
                f"{self.expected:.0f} were to be expected: evidence {self.wealth.total:.3g}, "
                f"bar {BAR:.0f}")

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON, for a take-over."""
        return {"wealth": self.wealth.to_document(), "candidate": self.candidate,
                "expected": self.expected, "units": self.units, "new": self._new}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made."""
        self.wealth.restore(document["wealth"])
        self.candidate, self.units = int(document["candidate"]), int(document["units"])
        self.expected = float(document["expected"])
        self._new = [(float(counted), bool(candidate), float(chance))
                     for counted, candidate, chance in document["new"]]
