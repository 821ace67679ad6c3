"""Detectors: each looks at one kind of outcome of a conversation and bets on the arm it came from.

A detector's null hypothesis is that the candidate is **not worse** than stable by more than its
margin; with ``against`` it is that the candidate *is* worse by more than it, and what it gathers
is evidence for a promotion.

The bets: let w be the candidate's chance. A part that takes an outcome to be ℓ times likelier on
the candidate multiplies its wealth by ℓ / (wℓ + 1 − w) when it was the candidate, by
1 / (wℓ + 1 − w) when it was stable. If the arm has nothing to do with the outcome the mean of that
is 1, whatever ℓ is; if ℓ rises with badness and the candidate is no worse it is at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.scale import Scales, Tables, share_below
from coalmine.guardrails.units import Unit
from coalmine.guardrails.wealth import CASH, Wealth

Read = Callable[[Attempt], "float | None"]

GROSS = ((4.0, 0.15), (40.0, 0.2), (1e5, 0.65))
"""Odds ratios of first turns that fail at once, and their shares: for a candidate that fails
outright."""

RATIOS = ((1.4, 0.2), (2.2, 0.2), (4.5, 0.2), (12.0, 0.2), (1000.0, 0.2))
"""Ratios of the rates at which conversations meet their first failure, beyond the margin."""

FEWER = ((0.5, 0.9), (0.25, 0.1))
"""The same for a candidate that fails less often than the margin allows: half as often is as
often as stable, at a margin of twice as often."""

SLOWED = ((0.02, 3.0, 0.2), (0.05, 2.0, 0.2), (0.05, 3.5, 0.2), (0.3, 1.0, 0.2), (0.3, 3.5, 0.2))
"""Shares of turns that are slowed, by how many standard deviations, and shares of the stake."""

MEANS = ((0.15, 1 / 3), (0.4, 1 / 3), (1.0, 1 / 3))
"""Differences of two means, in standard deviations."""

TAIL = 0.995
"""Share of stable's values above which a turn is among the slowest."""

FARTHEST = 4.0
"""Standard deviations at which its normal score is cut: how much farther out it lies nobody can
know from a few thousand values."""

_NORMAL = NormalDist()

SMALLEST_FACTOR = 0.02
"""No bet on a mean risks more than all but this share of its stake."""

RAREST = 1e-6
"""Stable is never taken to fail less often."""

MEMORY = 2000.0
"""First turns of stable after which its failure share is remembered half."""

TURNS = 30
"""Turns of a conversation that are told apart by their number; of later ones the last counts."""

CENTRED = 50.0
"""Conversations of stable over which its mean at a turn is remembered: few, so that an hour or an
incident that changes both arms has no time to speak against the one of which more is measured."""

SPREAD = 500.0
"""Conversations of stable over which the spread of a mean is remembered."""


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

    def waiting(self, unit: Unit, attempt: Attempt) -> None:
        """An attempt of it still runs; its times are lower bounds."""

    def start(self, unit: Unit) -> None:
        """Its first seconds are over."""

    def reveal(self, unit: Unit) -> None:
        """Its opening is over."""

    def close(self, unit: Unit) -> None:
        """Its later part is over too."""

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


class FirstTurn(Detector):
    """Whether a conversation's first attempt failed within :data:`.units.START` of its request.

    It also learns from what did not fail, so it is the fastest to see a candidate that fails
    outright. That it did not is told when the time is over, on both arms, whether it has been
    answered or not: how long good answers take does not matter. Null hypothesis: at any time of
    those seconds the candidate fails at most (1 + margin) times as often as stable. A part with
    odds ratio r takes the candidate's share for q_c = r·q / (1 − q + r·q), q being stable's till
    now, and multiplies by 1 + λ·(A − w)·(x' − q₀), with q₀ = w·q_c + (1 − w)·q,
    λ = (q_c − q) / (q₀·(1 − q₀)) and x' = x / (1 + margin) on the candidate. Without a margin that
    is the growth-optimal two-sample e-value (Turner, Ly & Grünwald 2024).
    """

    def __init__(self, *, margin: float, horizon: float, place: int) -> None:
        super().__init__("first_turn", GROSS, margin=margin, horizon=horizon, place=place)
        self._bad = 0.1
        self._units = 10.0

    def begin(self, unit: Unit) -> None:
        unit.notes[self.place] = 0  # not failed so far

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if unit.first and attempt.failed and unit.notes[self.place] == 0:
            unit.notes[self.place] = 1
            self._settle(unit, bad=True)

    def start(self, unit: Unit) -> None:
        bad, unit.notes[self.place] = unit.notes[self.place], None
        if bad is None:
            return
        if not bad:
            self._settle(unit, bad=False)
        if not unit.candidate:  # failures are learnt of here too, or there would seem to be more
            self._bad += bad
            self._units += 1.0
            if self._units > MEMORY:
                self._bad, self._units = self._bad / 2, self._units / 2

    def _settle(self, unit: Unit, *, bad: bool) -> None:
        self.counts.add(unit, bad=bad)
        share, chance = max(RAREST, self._bad / self._units), unit.chance
        against = 1.0 - chance if unit.candidate else -chance
        x = (1.0 / (1.0 + self.margin) if unit.candidate else 1.0) if bad else 0.0
        factors = []
        for ratio, _ in GROSS:
            theirs = min(0.995, ratio * share / (1.0 - share + ratio * share))
            mixed = chance * theirs + (1.0 - chance) * share
            stake = max(0.0, theirs - share) / (mixed * (1.0 - mixed))
            factors.append(1.0 + stake * against * (x - mixed))
        if unit.candidate:
            self.wealth.settle(factors, caller=unit.caller)
            self.wealth.release(chance, caller=unit.caller)
        elif max(factors) > 1.0:
            self.wealth.withhold(factors, caller=unit.caller)
        else:
            self.wealth.settle(factors, caller=unit.caller)

    def to_document(self) -> dict[str, Any]:
        return {**super().to_document(), "share": [self._bad, self._units]}

    def restore(self, document: dict[str, Any]) -> None:
        super().restore(document)
        self._bad, self._units = map(float, document["share"])


class FirstFailure(Detector):
    """The first failure of a conversation, at whichever turn: on which arm did it happen?

    It needs no count of what went well, so neither load matters nor how long good answers take.
    Null hypothesis: at any time since its beginning a conversation of the candidate fails at most
    (1 + margin) times as often as one of stable; then a failure is the candidate's with chance
    θ = w(1 + margin) / (w(1 + margin) + 1 − w) at most.
    """

    def __init__(self, *, margin: float, horizon: float, place: int, against: bool = False) -> None:
        self._parts = FEWER if against else RATIOS
        super().__init__("first_failure", self._parts, margin=margin, horizon=horizon, place=place,
                         against=against)
        self._odds = [part[0] for part in self._parts]

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if unit.first:
            self.counts.units[unit.candidate] += 1
        if unit.failed or not attempt.failed:
            return
        self.counts.bad[unit.candidate] += 1
        weight = unit.chance * (1.0 + self.margin)
        self.wealth.bet(self._odds, candidate=unit.candidate,
                        null=weight / (weight + 1.0 - unit.chance), caller=unit.caller)


class Mean(Detector):
    """The mean of a value in [0, 1], higher is worse, over a conversation's opening or its rest.

    Null hypothesis: at each turn the candidate's mean is at most stable's plus the margin. A part
    multiplies by 1 + λ·(A − w)·(x' − m): x' is the mean over the conversation's turns, less the
    margin on the candidate, m the mean of what stable had lately at turns of those numbers, and λ a
    number of stable's standard deviations, so bounded that at least 2 % are left. It is linear in
    x' − m, whose mean is 0 for each turn by itself: so it does not matter how many turns there
    were, or which, and an arm with longer answers has fewer.
    """

    def __init__(self, name: str, read: Read, *, margin: float, horizon: float, place: int,
                 against: bool = False, later: bool = False,
                 begins: tuple[float, float] = (0.1, 0.01)) -> None:
        super().__init__(f"later_{name}" if later else name, MEANS, margin=margin, horizon=horizon,
                         place=place, against=against)
        self._read = read
        self._later = later
        self._sign = -1.0 if against else 1.0
        self._difference = margin
        mean, self._variance = begins
        self._means = [mean] * TURNS
        self._heard = [1.0] * TURNS
        self._seen = 1.0

    def begin(self, unit: Unit) -> None:
        unit.notes[self.place] = [0, 0.0, 0.0]

    def value(self, unit: Unit, attempt: Attempt) -> float | None:
        """Return what a turn adds to the mean, 0 to 1; None for nothing."""
        return self._read(attempt)

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if unit.open is not self._later and attempt.outcome is Outcome.OK:
            self._take(unit, attempt)

    def _take(self, unit: Unit, attempt: Attempt) -> None:
        note = unit.notes[self.place]
        if note is None or unit.failed:
            return
        value = self.value(unit, attempt)
        if value is None:
            return
        number = min(unit.answered, TURNS - 1)
        note[0] += 1
        note[1] += value
        note[2] += self._means[number]
        if not unit.candidate:
            self._heard[number] = heard = min(self._heard[number] + 1.0, CENTRED)
            self._means[number] += (value - self._means[number]) / heard

    def reveal(self, unit: Unit) -> None:
        if not self._later:
            if unit.running is not None:
                self._take(unit, unit.running)
            self._settle(unit)

    def close(self, unit: Unit) -> None:
        if self._later:
            self._settle(unit)

    def _settle(self, unit: Unit) -> None:
        note = unit.notes[self.place]
        unit.notes[self.place] = None
        if note is None or not note[0]:
            return
        x, mean, chance = note[1] / note[0], note[2] / note[0], unit.chance
        self.counts.add(unit, bad=x > mean)
        against = self._sign * (1.0 - chance if unit.candidate else -chance)
        away = (x - self._difference if unit.candidate else x) - mean
        deepest = (1.0 - SMALLEST_FACTOR) / self._most_to_lose(chance, mean)
        deviation = math.sqrt(self._variance)
        factors = [1.0 + min(part / deviation, deepest) * against * away for part, _ in MEANS]
        self.wealth.settle(factors, caller=unit.caller)
        if not unit.candidate:
            self._seen = min(self._seen + 1.0, SPREAD)
            self._variance += (away**2 - self._variance) / self._seen
            self._variance = max(self._variance, 1e-6)

    def _most_to_lose(self, chance: float, mean: float) -> float:
        """Return the largest loss for a stake of 1, over both arms and all values of x."""
        difference = self._difference
        # How far the candidate's x' can be away.
        low, high = mean + difference, 1.0 - difference - mean
        if self._sign > 0.0:
            return max((1.0 - chance) * low, chance * (1.0 - mean), 1e-9)
        return max((1.0 - chance) * high, chance * mean, 1e-9)

    def pack(self, note: Any) -> Any:
        return None if note is None else note[:3]

    def unpack(self, packed: Any) -> Any:
        return packed

    def to_document(self) -> dict[str, Any]:
        return {**super().to_document(), "means": self._means, "heard": self._heard,
                "spread": [self._seen, self._variance]}

    def restore(self, document: dict[str, Any]) -> None:
        super().restore(document)
        means, heard = list(map(float, document["means"])), list(map(float, document["heard"]))
        if len(means) != TURNS or len(heard) != TURNS:
            raise ValueError(f"{len(means)} turns instead of {TURNS}")
        self._means, self._heard = means, heard
        self._seen, self._variance = map(float, document["spread"])


class Shift(Mean):
    """The mean of a measure's places among stable's values, over a conversation's opening.

    A turn's place is the share of stable's values that lie below it, first turns among first
    ones. Null hypothesis: at each turn the candidate's values, divided by 1 + margin, are no larger
    than stable's.
    """

    def __init__(self, read: Read, scales: Scales, *, margin: float, horizon: float, place: int,
                 against: bool = False, later: bool = False) -> None:
        super().__init__("shift", read, margin=margin, horizon=horizon, place=place,
                         against=against, later=later, begins=(0.5, 0.07))
        self._scales = scales
        self._difference = 0.0
        self._factor = 1.0 / (1.0 + margin)

    def begin(self, unit: Unit) -> None:
        # The tables of the beginning: what the conversation itself adds to stable's distribution
        # must not tell its arm.
        unit.notes[self.place] = [0, 0.0, 0.0, self._scales.tables]

    def value(self, unit: Unit, attempt: Attempt) -> float | None:
        value = self._read(attempt)
        if value is None:
            return None
        tables: Tables = unit.notes[self.place][3]
        return share_below(tables, value * self._factor if unit.candidate else value,
                           first=attempt.first_turn)

    def unpack(self, packed: Any) -> Any:
        return None if packed is None else [*packed, self._scales.tables]


class Tail(Detector):
    """The first turn of a conversation that is among the slowest 0.5 %, and how slow it is.

    It needs no completion: a turn that still waits counts when the clock passes the threshold. Null
    hypothesis as of :class:`Shift`. How slow it is, is its normal score z: the number of standard
    deviations at which a normal distribution has as much below as stable's has. A part that takes a
    share e of the candidate's turns to be slowed by d of them takes z for 1 − e + e·exp(d(z − d/2))
    times likelier.
    """

    def __init__(self, read: Read, scales: Scales, *, margin: float, horizon: float, place: int
                 ) -> None:
        super().__init__("tail", SLOWED, margin=margin, horizon=horizon, place=place)
        self._read = read
        self._scales = scales
        self._factor = 1.0 / (1.0 + margin)

    def begin(self, unit: Unit) -> None:
        unit.notes[self.place] = tables = self._scales.tables
        if any(tables):
            self.counts.units[unit.candidate] += 1

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if attempt.outcome is Outcome.OK and self._is_slow(unit, attempt):
            # Of a candidate's turn that only the margin excuses no more is told either, or it would
            # be told by a worse one than stable.
            unit.notes[self.place] = None

    def waiting(self, unit: Unit, attempt: Attempt) -> None:
        self._is_slow(unit, attempt)

    def _is_slow(self, unit: Unit, attempt: Attempt) -> bool:
        """Return whether a turn is among stable's slowest, and bet if no margin excuses it."""
        tables = unit.notes[self.place]
        if tables is None or unit.failed:
            return False
        value = self._read(attempt)
        if value is None:
            return False
        share = share_below(tables, value, first=attempt.first_turn)
        if share is None or share < TAIL:
            return False
        if unit.candidate:
            share = share_below(tables, value * self._factor, first=attempt.first_turn)
            if share is None or share < TAIL:
                return True
        unit.notes[self.place] = None
        score = min(FARTHEST, _NORMAL.inv_cdf(share))
        self.counts.bad[unit.candidate] += 1
        odds = [1.0 - share + share * math.exp(slow * (score - slow / 2))
                for share, slow, _ in SLOWED]
        self.wealth.bet(odds, candidate=unit.candidate, null=unit.chance, caller=unit.caller)
        return True

    def pack(self, note: Any) -> Any:
        return None if note is None else 1

    def unpack(self, packed: Any) -> Any:
        return self._scales.tables if packed else None
