"""Detectors of failures: at a conversation's start, and at whichever turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.detector import Detector
from coalmine.guardrails.units import Unit

GROSS = ((4.0, 0.15), (40.0, 0.2), (1e5, 0.65))
"""Odds ratios of first turns that fail at once, and their shares: for a candidate that fails
outright."""

RATIOS = ((1.4, 0.2), (2.2, 0.2), (4.5, 0.2), (12.0, 0.2), (1000.0, 0.2))
"""Ratios of the rates at which conversations meet their first failure, beyond the margin."""

FEWER = ((0.5, 0.85), (0.25, 0.1), (1.0, 0.05))
"""The same for a candidate that fails less often than the margin allows: half as often is as
often as stable, at a margin of twice as often. The last part bets on no ratio, but that hardly any
conversation fails."""

NEGLIGIBLE = 0.005
"""Share of conversations that may fail however seldom stable's do: of two arms that never fail,
neither can be shown to fail no more often than the other."""

HARDLY_EVER = 0.0005
"""The share that the bet against it takes the candidate to fail."""

RAREST = 1e-6
"""Stable is never taken to fail less often."""

MEMORY = 2000.0
"""First turns of stable after which its failure share is remembered half."""


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

    It needs no count of what went well, so neither load matters nor how long good answers take;
    nor how quick turns are, as it is told when stable's are mostly as far (:mod:`.pace`).
    Null hypothesis: at any turn a conversation of the candidate fails at most (1 + margin) times
    as often as one of stable; then a failure is the candidate's with chance
    θ = w(1 + margin) / (w(1 + margin) + 1 − w) at most.
    """

    parts: Sequence[tuple[float, float]] = RATIOS
    """Ratios of the rates, and shares of the stake."""

    def __init__(self, *, margin: float, horizon: float, place: int, against: bool = False) -> None:
        super().__init__("first_failure", self.parts, margin=margin, horizon=horizon, place=place,
                         against=against)
        self._odds = [part[0] for part in self.parts]

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        if unit.first:
            self.counts.units[unit.candidate] += 1
        if attempt.failed and not unit.failed:
            self.counts.bad[unit.candidate] += 1

    def failed(self, unit: Unit) -> None:
        self._bet(unit)

    def _bet(self, unit: Unit) -> None:
        weight = unit.chance * (1.0 + self.margin)
        self.wealth.bet(self._odds, candidate=unit.candidate,
                        null=weight / (weight + 1.0 - unit.chance), caller=unit.caller)


class FewerFailures(FirstFailure):
    """The first failure of a conversation, as evidence for the candidate.

    It is told when the opening and the later part end, or stable's failures would be known before
    timeouts of the candidate that are as many. A turn of the candidate that has run as long as an
    opening lasts is taken to fail. Null hypothesis: the candidate's conversations fail more than
    (1 + margin) times as often as stable's, and more than :data:`NEGLIGIBLE` of them fail. A bet
    wins against it by contradicting either: the last part multiplies by (1 − q) / (1 − n) for each
    of the candidate's that has not failed and whose newest turn was answered, and by q / n for one
    that has failed, q being :data:`HARDLY_EVER` and n :data:`NEGLIGIBLE`.
    """

    parts = FEWER
    _UNANSWERED, _ANSWERED, _FAILED = range(3)  # a note

    def __init__(self, *, margin: float, horizon: float, place: int) -> None:
        super().__init__(margin=margin, horizon=horizon, place=place, against=True)

    def begin(self, unit: Unit) -> None:
        unit.notes[self.place] = self._UNANSWERED

    def turn(self, unit: Unit, attempt: Attempt) -> None:
        super().turn(unit, attempt)
        if unit.notes[self.place] is None or unit.failed:
            return
        if attempt.failed:
            unit.notes[self.place] = self._FAILED
        else:  # its newest turn says whether it goes well: who left it did not see how it ended
            answered = attempt.outcome is Outcome.OK
            unit.notes[self.place] = self._ANSWERED if answered else self._UNANSWERED

    def failed(self, unit: Unit) -> None:
        """It is told later."""

    def reveal(self, unit: Unit) -> None:
        self._settle(unit)

    def close(self, unit: Unit) -> None:
        self._settle(unit)
        if unit.notes[self.place] == self._ANSWERED and unit.candidate:
            self._bet_on_rate(unit, failed=False)
        unit.notes[self.place] = None

    def _settle(self, unit: Unit) -> None:
        note = unit.notes[self.place]
        if note is None:
            return
        if note == self._FAILED or (unit.candidate and unit.hangs):
            unit.notes[self.place] = None
            self._bet(unit)
            if unit.candidate:
                self._bet_on_rate(unit, failed=True)

    def _bet_on_rate(self, unit: Unit, *, failed: bool) -> None:
        taken, allowed = HARDLY_EVER, NEGLIGIBLE
        factor = taken / allowed if failed else (1.0 - taken) / (1.0 - allowed)
        self.wealth.settle([1.0] * (len(self.parts) - 1) + [factor], caller=unit.caller)
