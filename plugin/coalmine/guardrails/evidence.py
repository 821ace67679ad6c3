"""The evidence of one rollout: every conversation's outcomes, and what the detectors made of them.

Attempts go in one by one, in the order in which they are learnt of; what comes out are the tests'
wealths. Which conversations count is decided before anything of them is known but who began them
and when: those that began within the rollout, with a chance of either arm, and no more than
:data:`ADMITTED` a minute of one caller while others call too.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coalmine.guardrails.attempt import NO_CONVERSATION, Attempt, Outcome
from coalmine.guardrails.detectors import (
    Detector,
    FirstFailure,
    FirstTurn,
    Mean,
    Shift,
    Tail,
)
from coalmine.guardrails.measure import LATENCIES, READ, Measure
from coalmine.guardrails.sample_ratio import SampleRatio, Split
from coalmine.guardrails.scale import Scales
from coalmine.guardrails.units import OPENING, Unit, unit_of
from coalmine.routing import Arm

IDLE = 900.0
"""Seconds without a turn after which a conversation is closed."""

UNITS = 50_000
"""Conversations at a time that are evidence: 55 new ones a second, closed after a quarter of an
hour. Of more, whether one is admitted depends on nothing but their number."""

ADMITTED = 100
"""Conversations of one caller in a minute that count, while at least :data:`ACTIVE` call."""

ACTIVE = 5
"""Callers in the last minute from which on one of them is limited."""

ALIASES = 2000
"""Callers whose names are kept, more than their part in the wealth is."""

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


_WITHOUT_TAIL = frozenset({Measure.INTER_TOKEN})
"""A mean over many tokens; its tail is the request's."""


def detectors_of(question: Question) -> int:
    """Return how many detectors a question takes, each with a share of α."""
    if question.against or question.measure in _WITHOUT_TAIL | {Measure.SCORE}:
        return 1
    return 2


class SequentialTest:
    """One question and its detectors."""

    def __init__(self, question: Question, detectors: list[Detector]) -> None:
        self.question = question
        self.detectors = detectors
        self._minutes: deque[tuple[float, float]] = deque(maxlen=GROWTH + 1)

    @property
    def leading(self) -> Detector:
        """The detector with the largest wealth."""
        return max(self.detectors, key=lambda detector: detector.wealth.total)

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


class Evidence:
    """All tests of one rollout.

    Args:
        questions: what is asked.
        horizon: seconds over which a late regression is provided for: the planned length.
        idle: seconds without a turn after which a conversation is closed.

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
        self.tests = {question: SequentialTest(question, self._make(question))
                      for question in dict.fromkeys(questions)}
        self.sample_ratio = SampleRatio(horizon)
        self.left_out: Counter[str] = Counter()
        self._units: dict[str, Unit] = {}
        self._openings: deque[tuple[float, str]] = deque()
        self._idle: deque[tuple[float, str]] = deque()
        self._handed = -1
        self._minute = -1
        self._admitted: Counter[str] = Counter()
        self._active = 0
        self._callers: Counter[str] = Counter()
        self._aliases: dict[str, str] = {}
        self.comparable = self.provable = True

    def _make(self, question: Question) -> list[Detector]:
        measure, margin, against = question.measure, question.margin, question.against
        place = len(self._detectors)
        made: list[Detector]
        if measure is Measure.ERRORS:
            made = [] if against else [
                FirstTurn(margin=margin, horizon=self._horizon, place=place)]
            made.append(FirstFailure(margin=margin, horizon=self._horizon,
                                     place=place + len(made), against=against))
        elif measure is Measure.SCORE:
            made = [Mean("mean", READ[measure], margin=margin, horizon=self._horizon, place=place,
                         against=against)]
        else:
            scales = self._scales.setdefault(measure, Scales())
            made = [Shift(READ[measure], scales, margin=margin, horizon=self._horizon,
                          place=place, against=against)]
            if detectors_of(question) == 2:
                made.append(Tail(READ[measure], scales, margin=margin, horizon=self._horizon,
                                 place=place + 1))
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
            for measure, scales in self._scales.items():
                value = READ[measure](attempt)
                if value is not None:
                    scales.add(attempt.at, value, first=attempt.first_turn)

    def _tell(self, unit: Unit, attempt: Attempt) -> None:
        unit.seen = max(unit.seen, attempt.at)
        if attempt.outcome is Outcome.WAITING:
            for detector in self._detectors:
                detector.waiting(unit, attempt)
            return
        for detector in self._detectors:
            detector.turn(unit, attempt)
        unit.first = False
        unit.failed = unit.failed or attempt.failed

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
        if not attempt.first_turn or not name:
            self.left_out["began_unseen"] += 1
            return None
        if len(self._units) >= UNITS:
            self.left_out["full"] += 1
            return None
        if not self._admit(attempt):
            self.left_out["caller_limit"] += 1
            return None
        unit = Unit(candidate=candidate, chance=chance, caller=attempt.caller, began=attempt.at,
                    detectors=len(self._detectors))
        self._units[name] = unit
        self._count_caller(attempt.caller, attempt.alias)
        self._openings.append((attempt.at + OPENING, name))
        self._idle.append((attempt.at + self._idle_after, name))
        self.sample_ratio.add(attempt.at - attempt.seconds, candidate=candidate, chance=chance)
        for detector in self._detectors:
            if not detector.by_load or (self.provable if detector.against else self.comparable):
                detector.begin(unit)
        return unit

    def _admit(self, attempt: Attempt) -> bool:
        """Whether the caller has not begun too many conversations in this minute."""
        if not attempt.caller:
            return True
        minute = max(self._minute, int(attempt.at // 60))  # one heard late belongs to this minute
        if minute != self._minute:
            self._active = len(self._admitted) if minute == self._minute + 1 else 0
            self._minute = minute
            self._admitted.clear()
        self._admitted[attempt.caller] += 1
        return self._admitted[attempt.caller] <= ADMITTED or self._active < ACTIVE

    def close(self, conversation: str, at: float) -> None:
        """A conversation has ended."""
        self.pass_time(at)
        unit = self._units.get(conversation)
        if unit is not None:
            self._forget(conversation, unit)

    def pass_time(self, now: float) -> None:
        """Let the clock pass: openings end, idle conversations close, cash is handed out."""
        openings, idle = self._openings, self._idle
        while openings and openings[0][0] <= now:
            unit = self._units.get(openings.popleft()[1])
            if unit is not None:
                self._reveal(unit)
        while idle and idle[0][0] <= now:
            _, name = idle.popleft()
            unit = self._units.get(name)
            if unit is None:
                continue
            if unit.seen + self._idle_after > now:
                idle.append((unit.seen + self._idle_after, name))
            else:
                self._forget(name, unit)
        minute = int(now // 60.0)
        if minute == self._handed:
            return
        self._handed = minute
        for detector in self._detectors:
            detector.wealth.pass_time(now)
        self.sample_ratio.pass_time(now)
        for test in self.tests.values():
            test.note(now)

    def _forget(self, name: str, unit: Unit) -> None:
        self._reveal(unit)
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

    def _reveal(self, unit: Unit) -> None:
        if unit.open:
            unit.open = False
            for detector in self._detectors:
                detector.reveal(unit)

    # a take-over -----------------------------------------------------------------------------

    def to_document(self) -> dict[str, Any]:
        """Return all of it as JSON, so that another controller loses no evidence."""
        units = {name: unit.to_row([detector.pack(note) for detector, note
                                    in zip(self._detectors, unit.notes, strict=True)])
                 for name, unit in self._units.items()}
        return {
            "tests": {test.question.name: [d.to_document() for d in test.detectors]
                      for test in self.tests.values()},
            "scales": {measure.value: scales.to_document()
                       for measure, scales in self._scales.items()},
            "sample_ratio": self.sample_ratio.to_document(),
            "units": units,
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
        for name, row in document["units"].items():
            unit, packed = unit_of(row, len(self._detectors))
            unit.notes = [detector.unpack(note) for detector, note
                          in zip(self._detectors, packed, strict=True)]
            self._units[name] = unit
            self._callers[unit.caller] += 1
        for unit_name, unit in sorted(self._units.items(), key=lambda item: item[1].began):
            if unit.open:
                self._openings.append((unit.began + OPENING, unit_name))
            self._idle.append((unit.seen + self._idle_after, unit_name))
