"""The judge that is tried: what the verdict engine says, asked at every event."""

from __future__ import annotations

from benchmarks.verdicts.judge import Finding
from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import Question
from coalmine.routing import Arm
from coalmine.sim.scenarios import Event

WORSE = (
    Question(Measure.ERRORS, 0.1),
    Question(Measure.TTFT, 0.1),
    Question(Measure.INTER_TOKEN, 0.1),
    Question(Measure.REQUEST, 0.5),
    Question(Measure.SCORE, 0.01),
)
"""What it asks: is the candidate worse by more than so much?"""
NOT_WORSE = (
    Question(Measure.ERRORS, 1.0, against=True),
    Question(Measure.TTFT, 0.3, against=True),
    Question(Measure.SCORE, 0.05, against=True),
)
"""And for a promotion: is it surely not worse by more than so much?"""

ALARM = 1000.0
"""1 / α of each detector."""
PROVEN = 20.0
"""1 / α of each question for a promotion."""

_ARMS = {"stable": Arm.STABLE, "candidate": Arm.CANDIDATE}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def tell(evidence: Evidence, event: Event) -> None:
    """Tell the engine of a simulated event."""
    if "closed" in event:
        evidence.close(event["conversation"], event["t"])
        return
    get = event.get
    evidence.add(Attempt(
        at=event["t"], service="chat", release=event["release"], arm=_ARMS[event["arm"]],
        deployment=event["release"], outcome=_OUTCOMES[event["outcome"]],
        conversation=event["conversation"], caller=get("key", ""), chance=event["chance"],
        first_turn=event["turn"] == 0, evidence=True, ttft=get("ttft"),
        inter_token=get("inter_token"), seconds=get("seconds", 0.0), tokens=get("tokens"),
        cost=get("cost"), score=get("score")))


class Alarm:
    """Raised when a detector's wealth has reached the bar.

    Args:
        horizon: seconds that the canary is planned to last.
    """

    name = "coalmine"

    def __init__(self, horizon: float) -> None:
        self._evidence = Evidence(WORSE, horizon=horizon)
        self._detectors = [(f"{test.question.measure.value} {detector.name}", detector.wealth)
                           for test in self._evidence.tests.values() for detector in test.detectors]

    def take(self, event: Event) -> Finding | None:
        """Return what was found, None while there is nothing."""
        tell(self._evidence, event)
        for why, wealth in self._detectors:
            if wealth.cash + sum(wealth.parts) >= ALARM:
                return why
        return None


class Promotion:
    """Raised when everything that a promotion needs is proven at the same time."""

    name = "promotable"

    def __init__(self, horizon: float) -> None:
        self._evidence = Evidence(NOT_WORSE, horizon=horizon)
        self._tests = list(self._evidence.tests.values())

    def take(self, event: Event) -> Finding | None:
        """Return what was found, None while there is nothing."""
        tell(self._evidence, event)
        if all(test.wealth >= PROVEN for test in self._tests):
            return "all proven"
        return None
