"""A detector looks at one kind of outcome of a conversation and bets on the arm it came from.

A detector's null hypothesis is that the candidate is **not worse** than stable by more than its
margin; with ``against`` it is that the candidate *is* worse by more than it, and what it gathers
is evidence for a promotion.

The bets: let w be the candidate's chance. A part that takes an outcome to be ℓ times likelier on
the candidate multiplies its wealth by ℓ / (wℓ + 1 − w) when it was the candidate, by
1 / (wℓ + 1 − w) when it was stable. If the arm has nothing to do with the outcome the mean of that
is 1, whatever ℓ is; if ℓ rises with badness and the candidate is no worse it is at most 1.

Of failures :mod:`.failures` bets so, of means :mod:`.means`, of the slowest turns :mod:`.tail`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.units import Unit
from coalmine.guardrails.wealth import CASH, Wealth

Read = Callable[[Attempt], "float | None"]

TOLD = (Outcome.OK, Outcome.DISCONNECT)
"""Outcomes that tell how long an answer takes, or that it takes longer than its client waited."""


class Counts:
    """Outcomes of both arms since the beginning, for people: how many, and how many bad ones."""

    __slots__ = ("bad", "units")

    def __init__(self) -> None:
        self.units = [0, 0]
        self.bad = [0, 0]

    def add(self, unit: Unit, *, bad: bool) -> None:
        """Count one."""
        self.units[unit.candidate] += 1
        self.bad[unit.candidate] += bad


class Detector:
    """What all detectors have.

    Args:
        name: what it looks at, for status: ``first_turn``, ``first_failure``, ``shift`` …
        parts: its bets, each ending with its share of the stake.
        margin: how much worse the candidate may be; what it means is the subclass's to say.
        horizon: seconds over which the cash is handed out.
        place: its place among a unit's notes.
        against: whether it gathers evidence for the candidate.
    """

    def __init__(self, name: str, parts: Sequence[Sequence[float]], *, margin: float,
                 horizon: float, place: int, against: bool = False) -> None:
        self.name = name
        self.margin = margin
        self.place = place
        self.against = against
        self.by_load = False  # whether load decides too: a latency
        # A regression may begin late; that there is none is true from the beginning or not at all.
        self.wealth = Wealth([part[-1] for part in parts], horizon=horizon,
                             cash=0.0 if against else CASH)
        self.counts = Counts()

    def begin(self, unit: Unit) -> None:
        """A conversation begins."""

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        """An attempt of it has ended."""

    def failed(self, unit: Unit) -> None:
        """It has failed for the first time, and stable would mostly be as far by now."""

    def waiting(self, unit: Unit, attempt: Attempt) -> None:
        """An attempt of it still runs; its times are lower bounds."""

    def start(self, unit: Unit) -> None:
        """Its first seconds are over."""

    def reveal(self, unit: Unit) -> None:
        """Its opening is over."""

    def close(self, unit: Unit) -> None:
        """Its later part is over too."""

    def due(self, unit: Unit) -> float:
        """Return the unix time at which it is told what it has seen of the conversation and has not
        been told, for ever when there is nothing."""
        return math.inf

    def tell(self, unit: Unit, now: float) -> None:
        """It is told what is due."""

    def pack(self, note: Any) -> Any:
        """Return a unit's note as JSON."""
        return note

    def unpack(self, packed: Any) -> Any:
        """Return the note that :meth:`pack` wrote."""
        return packed

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON, for a take-over."""
        return {"wealth": self.wealth.to_document(), "units": self.counts.units,
                "bad": self.counts.bad}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made."""
        self.wealth.restore(document["wealth"])
        self.counts.units, self.counts.bad = list(document["units"]), list(document["bad"])
