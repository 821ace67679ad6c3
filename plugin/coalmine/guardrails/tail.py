"""The detector of a longer tail: of first turns that are among the slowest."""

from __future__ import annotations

import heapq
import math
from statistics import NormalDist
from typing import Any, NamedTuple

from coalmine.guardrails.attempt import Attempt
from coalmine.guardrails.detector import TOLD, Detector, Read
from coalmine.guardrails.pace import Pace
from coalmine.guardrails.scale import Scales, share_below
from coalmine.guardrails.units import Unit

SLOWED = ((0.02, 3.0, 0.2), (0.05, 2.0, 0.2), (0.05, 3.5, 0.2), (0.3, 1.0, 0.2), (0.3, 3.5, 0.2))
"""Shares of turns that are slowed, by how many standard deviations, and shares of the stake."""

SLOWEST = 0.995
"""Share of stable's values above which a turn is among the slowest."""

FARTHEST = 4.0
"""Standard deviations at which its normal score is cut: how much farther out it lies nobody can
know from a few thousand values."""

_NORMAL = NormalDist()


class Slow(NamedTuple):
    """The note of a conversation with a slow turn of which nothing has been told yet."""

    when: float
    """Unix time at which it is told."""
    score: float
    """Its normal score."""


class Tail(Detector):
    """The first turn of a conversation that is among the slowest 0.5 %, and how slow it is.

    It needs no completion: a turn that still waits counts when the clock passes the threshold, or
    so much later as stable mostly begins the turn of that number later (:mod:`.pace`): an arm with
    quicker turns comes to its slow ones sooner. Null hypothesis as of :class:`Shift`. How slow it
    is, is its normal score z: the number of standard deviations at which a normal distribution has
    as much below as stable's has. A part that takes a share e of the candidate's turns to be slowed
    by d of them takes z for 1 − e + e·exp(d(z − d/2)) times likelier.
    """

    def __init__(self, read: Read, scales: Scales, pace: Pace, later: list[tuple[float, str]], *,
                 margin: float, horizon: float, place: int) -> None:
        super().__init__("tail", SLOWED, margin=margin, horizon=horizon, place=place)
        self._read = read
        self._scales = scales
        self._pace = pace
        self._later = later
        self._factor = 1.0 / (1.0 + margin)

    def begin(self, unit: Unit) -> None:
        unit.notes[self.place] = tables = self._scales.tables
        if any(tables):
            self.counts.units[unit.candidate] += 1

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if (attempt.outcome in TOLD and self._is_slow(unit, attempt)
                and not isinstance(unit.notes[self.place], Slow)):
            # Of a candidate's turn that only the margin excuses no more is told either, or it would
            # be told by a worse one than stable.
            unit.notes[self.place] = None

    def waiting(self, unit: Unit, attempt: Attempt) -> None:
        self._is_slow(unit, attempt)

    def _is_slow(self, unit: Unit, attempt: Attempt) -> bool:
        """Return whether a turn is among stable's slowest; it is told if no margin excuses it."""
        tables = unit.notes[self.place]
        if tables is None or isinstance(tables, Slow) or unit.failed:
            return False
        value = self._read(attempt)
        if value is None:
            return False
        share = share_below(tables, value, first=attempt.first_turn)
        if share is None or share < SLOWEST:
            return False
        if unit.candidate:
            share = share_below(tables, value * self._factor, first=attempt.first_turn)
            if share is None or share < SLOWEST:
                return True
        score = min(FARTHEST, _NORMAL.inv_cdf(share))
        self.counts.bad[unit.candidate] += 1
        usual = self._pace.usual(unit.answered - 1) if unit.answered else 0.0
        when = attempt.at + max(0.0, usual - unit.worked)
        unit.notes[self.place] = Slow(when, score)
        if when <= attempt.at:
            self.tell(unit, attempt.at)
        else:
            heapq.heappush(self._later, (when, attempt.conversation))
        return True

    def due(self, unit: Unit) -> float:
        note = unit.notes[self.place]
        return note.when if isinstance(note, Slow) else math.inf

    def tell(self, unit: Unit, now: float) -> None:
        note = unit.notes[self.place]
        if not isinstance(note, Slow) or note.when > now:
            return
        unit.notes[self.place] = None
        odds = [1.0 - share + share * math.exp(slow * (note.score - slow / 2))
                for share, slow, _ in SLOWED]
        self.wealth.bet(odds, candidate=unit.candidate, null=unit.chance, caller=unit.caller)

    def pack(self, note: Any) -> Any:
        if isinstance(note, Slow):
            return [round(note.when, 3), note.score]
        return None if note is None else 1

    def unpack(self, packed: Any) -> Any:
        if isinstance(packed, list):
            return Slow(*map(float, packed))
        return self._scales.tables if packed else None
