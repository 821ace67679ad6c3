"""Sample-ratio check: do the conversations that arrive on each arm fit the chances they were given?

If not, something between the draw and the counting treats the arms differently (a candidate whose
attempts are lost, a client that drops one arm), and every comparison of them is doubtful. Each new
conversation is a bet with the odds of its own chance, so changing weights are exact.
"""

from __future__ import annotations

from typing import Any

from coalmine.guardrails.wealth import Wealth

RATIOS = (0.5, 0.7, 0.85, 1.2, 1.5, 2.0)
"""How many times likelier the candidate may in truth be than it should."""

BAR = 1000.0
"""Evidence from which on the split does not fit: once in a thousand rollouts by chance."""


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

    def add(self, *, candidate: bool, chance: float) -> None:
        """A conversation has begun."""
        self.units += 1
        self.candidate += candidate
        self.expected += chance
        self.wealth.bet(RATIOS, candidate=candidate, chance=chance)

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
                "expected": self.expected, "units": self.units}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made."""
        self.wealth.restore(document["wealth"])
        self.candidate, self.units = int(document["candidate"]), int(document["units"])
        self.expected = float(document["expected"])
