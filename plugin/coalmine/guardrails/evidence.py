"""The evidence of one rollout: every conversation's outcomes, and what the detectors made of them.

Attempts go in one by one, in the order in which they are learnt of; what comes out are the tests'
wealths. Which conversations count does not depend on their arm: those that began within the
rollout, with a chance of either arm, and of a caller who floods only some (:mod:`.admission`).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

from coalmine.guardrails.admission import Admission
from coalmine.guardrails.attempt import NO_CONVERSATION, Attempt, Outcome
from coalmine.guardrails.chunks import pack, unpack
from coalmine.guardrails.detector import TOLD, Detector
from coalmine.guardrails.failures import FewerFailures, FirstFailure, FirstTurn
from coalmine.guardrails.histogram import bucket_of, value_of
from coalmine.guardrails.means import Mean, Shift
from coalmine.guardrails.measure import LATENCIES, READ, Measure
from coalmine.guardrails.pace import Pace
from coalmine.guardrails.sample_ratio import SampleRatio, Split
from coalmine.guardrails.scale import Scale, Scales
from coalmine.guardrails.sequential import Question, SequentialTest
from coalmine.guardrails.tail import Tail
from coalmine.guardrails.units import OPENING, Stage, Unit, unit_of
from coalmine.routing import Arm

IDLE = 900.0
"""Seconds without a turn after which a conversation has ended."""

UNITS = 50_000
"""Conversations at a time that are evidence: 55 new ones a second, closed after a quarter of an
hour."""

SLOW, LONGER = 0.99, 3.0
"""An opening lasts so many times as long as this share of stable's answers takes at most: what
takes even longer counts as it stands then, among stable's slowest."""

LATEST = 600.0
"""Seconds that an opening lasts at most."""

ALIASES = 2000
"""Callers whose names are kept, more than their part in the wealth is."""

_LATER = frozenset({Measure.INTER_TOKEN, Measure.SCORE})
"""Without a tail: a mean over many tokens, whose tail is the request's, and a score. What comes
after the opening would not be seen, so that has a detector of its own."""


class Evidence:
    """All tests of one rollout.

    Args:
        questions: what is asked.
        horizon: seconds over which a late regression is provided for: the planned length.
        idle: seconds without a turn after which a conversation has ended. Until it is a quarter of
            an hour old it is kept all the same.

    Attributes:
        tests: the tests by what they ask.
        sample_ratio: whether the arms got the conversations that they should.
        left_out: attempts that were no evidence though their conversation had a chance, by reason.
        comparable: whether latencies of conversations that begin now speak against the candidate;
            not while it bears far more load than stable.
        provable: whether they speak for it; not while it bears far less.
    """

    def __init__(self, questions: Iterable[Question], *, horizon: float, idle: float = IDLE
                 ) -> None:
        self._horizon = horizon
        self._idle_after = idle
        self._scales: dict[Measure, Scales] = {}
        self._detectors: list[Detector] = []
        self._pace = Pace()
        self._later: list[tuple[float, str]] = []  # when something is told that was seen before
        self.tests = {question: SequentialTest(question, self._make(question))
                      for question in dict.fromkeys(questions)}
        self.sample_ratio = SampleRatio(horizon)
        self.left_out: Counter[str] = Counter()
        self._units: dict[str, Unit] = {}
        self._admission = Admission()
        self._ends: list[tuple[float, str]] = []  # of parts of conversations
        self._looks: list[tuple[float, str]] = []  # when it is asked whether one may be forgotten
        self._handed = -1
        self._lengths = Scale()
        self._opening = OPENING
        self._callers: Counter[str] = Counter()
        self._aliases: dict[str, str] = {}
        self.comparable = self.provable = True

    def _make(self, question: Question) -> list[Detector]:
        measure, margin, against = question.measure, question.margin, question.against
        read = READ.get(measure)
        usual: dict[str, Any] = {"margin": margin, "horizon": self._horizon}
        place = len(self._detectors)
        made: list[Detector]
        if read is None:
            made = ([FewerFailures(place=place, **usual)] if against else
                    [FirstTurn(place=place, **usual), FirstFailure(place=place + 1, **usual)])
        elif measure is Measure.SCORE:
            made = [Mean("mean", read, place=place, against=against, **usual)]
            if not against:
                made.append(Mean("mean", read, place=place + 1, later=True, **usual))
        else:
            scales = self._scales.setdefault(measure, Scales())
            made = [Shift(read, scales, place=place, against=against, **usual)]
            if not against and measure in _LATER:
                made.append(Shift(read, scales, place=place + 1, later=True, **usual))
            elif not against:
                made.append(Tail(read, scales, self._pace, self._later, place=place + 1,
                                 **usual))
            for detector in made:
                detector.by_load = measure in LATENCIES
        self._detectors += made
        return made

    # what happens ----------------------------------------------------------------------------

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt of the service; one that still runs tells lower bounds."""
        self.pass_time(attempt.at)
        unit = self._unit(attempt)
        if unit is not None:
            self._tell(unit, attempt)
        self.learn(attempt)

    def learn(self, attempt: Attempt) -> None:
        """Learn from a turn of a conversation, evidence or not, how long stable takes."""
        if (attempt.arm is Arm.STABLE and attempt.outcome is Outcome.OK
                and attempt.conversation not in ("", NO_CONVERSATION)):
            self._lengths.add(attempt.at, bucket_of(attempt.seconds))
            for measure, scales in self._scales.items():
                value = READ[measure](attempt)
                if value is not None:
                    scales.add(attempt.at, value, first=attempt.first_turn)

    def _tell(self, unit: Unit, attempt: Attempt) -> None:
        unit.seen = max(unit.seen, attempt.at)
        if attempt.outcome is Outcome.WAITING:
            if attempt.seconds:  # else a cache has answered: nothing runs
                unit.running = attempt
                for detector in self._detectors:
                    detector.waiting(unit, attempt)
            return
        unit.running = None
        for detector in self._detectors:
            detector.turn(unit, attempt)
        unit.worked += attempt.seconds
        if not unit.candidate:
            self._pace.add(unit.answered, unit.worked)
        if attempt.failed and not unit.failed:
            self._fail(unit, attempt)
        unit.first = False
        unit.failed = unit.failed or attempt.failed
        unit.answered += attempt.outcome in TOLD

    def _fail(self, unit: Unit, attempt: Attempt) -> None:
        """A conversation has failed for the first time: now or later it is told. At its first turn
        there was no turn before that could have been quicker, and most such failures come at once.
        """
        usual = self._pace.usual(unit.answered) if unit.answered else 0.0
        unit.told = attempt.at + max(0.0, usual - unit.worked)
        if unit.told <= attempt.at:
            self._tell_failure(unit)
        else:
            heapq.heappush(self._later, (unit.told, attempt.conversation))

    def _tell_failure(self, unit: Unit) -> None:
        unit.told = math.inf
        for detector in self._detectors:
            detector.failed(unit)

    def _tell_due(self, unit: Unit, now: float) -> None:
        """Tell what was put off until now."""
        if not math.isinf(unit.told) and unit.told <= now:
            self._tell_failure(unit)
        for detector in self._detectors:
            detector.tell(unit, now)

    def _unit(self, attempt: Attempt) -> Unit | None:
        """Return the conversation of an attempt, None when it is no evidence."""
        chance = attempt.chance
        if not attempt.evidence or chance is None or not 0.0 < chance < 1.0:
            return None
        name = attempt.conversation
        unit = self._units.get(name)
        candidate = attempt.arm is Arm.CANDIDATE
        if unit is not None:
            if unit.candidate is candidate:
                return unit
            self.left_out["another_arm"] += 1
            return None
        reason = self._refuses(attempt)
        if reason:
            self.left_out[reason] += attempt.outcome is not Outcome.WAITING
            return None
        asked = attempt.at - attempt.seconds
        ends = asked + self._opening
        unit = Unit(candidate=candidate, chance=chance, caller=attempt.caller, asked=asked,
                    ends=ends, seen=attempt.at, detectors=len(self._detectors))
        self._units[name] = unit
        self._count_caller(attempt.caller, attempt.alias)
        heapq.heappush(self._ends, (unit.due, name))
        heapq.heappush(self._looks, (attempt.at + self._idle_after, name))
        self.sample_ratio.add(ends, candidate=candidate, chance=chance)
        for detector in self._detectors:
            if not detector.by_load or (self.provable if detector.against else self.comparable):
                detector.begin(unit)
        return unit

    def _refuses(self, attempt: Attempt) -> str:
        """Return why a conversation that is not known is no evidence, "" when it is."""
        name = attempt.conversation
        if not attempt.first_turn or not name:
            return "began_unseen"
        asked = attempt.at - attempt.seconds
        why = self._admission.refuses(name, attempt.caller, asked)
        if not why and len(self._units) >= UNITS:
            why = self._admission.refuse(name, asked, "full")
        return why

    def close(self, conversation: str, at: float) -> None:
        """A conversation has ended. What it tells is told when it would have been: that it has gone
        well, before another of that age has failed, would be told of the quicker arm."""
        self.pass_time(at)
        unit = self._units.get(conversation)
        if unit is not None:
            unit.seen = -math.inf
            heapq.heappush(self._looks, (at, conversation))
            self._forget_idle(at)

    def pass_time(self, now: float) -> None:
        """Let the clock pass: openings end, idle conversations close, cash is handed out."""
        self._admission.pass_time(now)
        while self._ends and self._ends[0][0] <= now:
            _, name = heapq.heappop(self._ends)
            unit = self._units.get(name)
            if unit is not None and unit.due <= now:
                self._end(unit)
                if unit.stage is not Stage.OVER:
                    heapq.heappush(self._ends, (unit.due, name))
        while self._later and self._later[0][0] <= now:
            _, name = heapq.heappop(self._later)
            unit = self._units.get(name)
            if unit is not None:
                self._tell_due(unit, now)
        self._forget_idle(now)
        self.sample_ratio.pass_time(now)
        minute = int(now // 60.0)
        if minute == self._handed:
            return
        self._handed = minute
        self._opening = self._length()
        for detector in self._detectors:
            detector.wealth.pass_time(now)
        for test in self.tests.values():
            test.note(now)

    def _forget_idle(self, now: float) -> None:
        looks = self._looks
        while looks and looks[0][0] <= now:
            _, name = heapq.heappop(looks)
            unit = self._units.get(name)
            if unit is None:
                continue
            until = unit.seen + self._idle_after
            if until <= now and unit.running is not None and until + unit.running.seconds > now:
                # It is told of again when it has run half as long again.
                until = now + self._idle_after
            until = max(until, self._all_told(unit))
            if until > now:
                heapq.heappush(looks, (until, name))
            else:
                self._forget(name, unit)

    def _put_off(self, unit: Unit) -> list[float]:
        """Return the unix times at which something is told that was seen before."""
        times = (unit.told, *(detector.due(unit) for detector in self._detectors))
        return [when for when in times if not math.isinf(when)]

    def _all_told(self, unit: Unit) -> float:
        """Return when all has been told of a conversation, minus infinity when it has been."""
        last = -math.inf if unit.stage is Stage.OVER else unit.last
        return max([last, *self._put_off(unit)])

    def _length(self) -> float:
        """Return how long openings last, by how long stable's answers take."""
        table = self._lengths.table
        if table is None:
            return self._opening
        slow = value_of(bisect_left(table, SLOW))
        return min(LATEST, max(OPENING, LONGER * slow))

    def _forget(self, name: str, unit: Unit) -> None:
        """Forget a conversation; what it has still to tell is told before."""
        self._tell_due(unit, math.inf)
        while unit.stage is not Stage.OVER:
            self._end(unit)
        del self._units[name]
        self._callers[unit.caller] -= 1
        if self._callers[unit.caller] <= 0:
            del self._callers[unit.caller]

    def _count_caller(self, caller: str, alias: str) -> None:
        self._callers[caller] += 1
        if alias:
            self._aliases.pop(caller, None)  # the newest last
            self._aliases[caller] = alias
            if len(self._aliases) > ALIASES:
                del self._aliases[next(iter(self._aliases))]

    @property
    def callers(self) -> int:
        """Callers with a conversation that has not ended."""
        return len(self._callers)

    @property
    def split(self) -> Split:
        """The conversations that it rests on."""
        seen = self.sample_ratio
        return Split(seen.units, seen.candidate, seen.expected, seen.wealth.total,
                     dict(self.left_out))

    def alias_of(self, caller: str) -> str:
        """The key alias of a caller, or its hash when it has none."""
        return self._aliases.get(caller, caller)

    def _end(self, unit: Unit) -> None:
        """End the part of a conversation that runs."""
        for detector in self._detectors:
            if unit.stage is Stage.START:
                detector.start(unit)
            elif unit.stage is Stage.OPENING:
                detector.reveal(unit)
            else:
                detector.close(unit)
        unit.stage = Stage(unit.stage + 1)

    # a take-over -----------------------------------------------------------------------------

    def to_document(self) -> dict[str, Any]:
        """Return all of it as JSON, so that another controller loses no evidence."""
        units = pack(unit.to_row(name, [detector.pack(note) for detector, note
                                        in zip(self._detectors, unit.notes, strict=True)])
                     for name, unit in self._units.items())
        return {
            "tests": {test.question.name: [d.to_document() for d in test.detectors]
                      for test in self.tests.values()},
            "scales": {measure.value: scales.to_document()
                       for measure, scales in self._scales.items()},
            "sample_ratio": self.sample_ratio.to_document(),
            "units": units,
            "admission": self._admission.to_document(),
            "lengths": self._lengths.to_document(),
            "opening": self._opening,
            "pace": self._pace.to_document(),
            "aliases": self._aliases,
            "left_out": dict(self.left_out),
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made.

        Raises:
            ValueError, KeyError, TypeError: when it was made by other questions; then this one
                must be thrown away.
        """
        for measure, scales in self._scales.items():
            scales.restore(document["scales"][measure.value])
        for test in self.tests.values():
            for detector, kept in zip(test.detectors, document["tests"][test.question.name],
                                      strict=True):
                detector.restore(kept)
        self.sample_ratio.restore(document["sample_ratio"])
        self.left_out = Counter(document["left_out"])
        self._aliases = dict(document["aliases"])
        self._admission.restore(document["admission"])
        self._lengths.restore(document["lengths"])
        self._opening = float(document["opening"])
        self._pace.restore(document["pace"])
        for row in unpack(document["units"]):
            name, unit, packed = unit_of(row, len(self._detectors))
            unit.notes = [detector.unpack(note) for detector, note
                          in zip(self._detectors, packed, strict=True)]
            self._units[name] = unit
            self._callers[unit.caller] += 1
            for when in self._put_off(unit):
                heapq.heappush(self._later, (when, name))
            if unit.stage is not Stage.OVER:
                heapq.heappush(self._ends, (unit.due, name))
            heapq.heappush(self._looks, (unit.seen + self._idle_after, name))
