"""Detectors of means: of a score, and of a latency's places among stable's."""

from __future__ import annotations

import math
from typing import Any

from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.detector import TOLD, Detector, Read
from coalmine.guardrails.scale import Scales, Tables, share_below
from coalmine.guardrails.units import Unit

MEANS = ((0.15, 1 / 3), (0.4, 1 / 3), (1.0, 1 / 3))
"""Differences of two means, in standard deviations."""

SMALLEST_FACTOR = 0.02
"""No bet on a mean risks more than all but this share of its stake."""

TURNS = 30
"""Turns of a conversation that are compared, each with stable's of its number. Later ones are not:
a conversation would be compared with its own turns before, on stable only."""

CENTRED = 50.0
"""Conversations of stable over which its mean at a turn is remembered: few, so that an hour or an
incident that changes both arms has no time to speak against the one of which more is measured."""

SPREAD = 500.0
"""Conversations of stable over which the spread of a mean is remembered."""


class Mean(Detector):
    """The mean of a value in [0, 1], higher is worse, over a conversation's opening or its rest.

    Null hypothesis: at each turn the candidate's mean is at most stable's plus the margin. A part
    multiplies by 1 + λ·(A − w)·(x' − m): x' is the mean over the conversation's turns, less the
    margin on the candidate, m the mean of what stable had lately at turns of those numbers, and λ a
    number of stable's standard deviations, so bounded that at least 2 % are left. It is linear in
    x' − m, whose mean is 0 for each turn by itself: so it does not matter how many turns there
    were, and an arm with longer answers has fewer. m is that of the moment when the turn was first
    heard of: of an incident that hits both arms, the one with longer answers is told later.

    A turn that its client gave up counts by what is known of it: who is slow is left more often.
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
        unit.notes[self.place] = self._note([0, 0.0, 0.0, None])

    def _note(self, packed: list[Any]) -> list[Any]:
        """Return a note: turns, the sums of their values and of stable's means, and stable's mean
        at the turn that runs."""
        return packed

    def value(self, unit: Unit, attempt: Attempt) -> float | None:
        """Return what a turn adds to the mean, 0 to 1; None for nothing."""
        return self._read(attempt)

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        note = unit.notes[self.place]
        if note is None:
            return
        if unit.open is not self._later and attempt.outcome in TOLD:
            self._take(unit, attempt)
        note[3] = None

    def waiting(self, unit: Unit, attempt: Attempt) -> None:
        note, number = unit.notes[self.place], unit.answered
        if note is not None and note[3] is None and number < TURNS:
            note[3] = self._means[number]

    def _take(self, unit: Unit, attempt: Attempt) -> None:
        note, number = unit.notes[self.place], unit.answered
        if note is None or unit.failed or number >= TURNS:
            return
        value = self.value(unit, attempt)
        if value is None:
            return
        note[0] += 1
        note[1] += value
        note[2] += self._means[number] if note[3] is None else note[3]
        if not unit.candidate:
            self._heard[number] = heard = min(self._heard[number] + 1.0, CENTRED)
            self._means[number] += (value - self._means[number]) / heard

    def reveal(self, unit: Unit) -> None:
        if not self._later:
            running = unit.running_till(unit.ends)
            if running is not None:
                self._take(unit, running)
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
        return None if note is None else note[:4]

    def unpack(self, packed: Any) -> Any:
        return None if packed is None else self._note(list(packed))

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

    def _note(self, packed: list[Any]) -> list[Any]:
        # The tables of the beginning: what the conversation itself adds to stable's distribution
        # must not tell its arm.
        return [*packed, self._scales.tables]

    def value(self, unit: Unit, attempt: Attempt) -> float | None:
        value = self._read(attempt)
        if value is None:
            return None
        tables: Tables = unit.notes[self.place][4]
        # The margin makes a value that is only a lower bound too small, which must prove nothing.
        eased = unit.candidate and not (self.against and attempt.outcome is not Outcome.OK)
        return share_below(tables, value * self._factor if eased else value,
                           first=attempt.first_turn)
