"""Conversations for the tests of evidence: attempts in a row, and evidence that has seen some."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.sequential import Question
from coalmine.routing import Arm

HOUR = 3600.0


def turns(name: str, outcomes: Sequence[dict[str, Any]], *, candidate: bool, at: float = 0.0,
          chance: float = 0.1, gap: float = 10.0, caller: str = "") -> list[Attempt]:
    """A conversation: one attempt for each of `outcomes`, `gap` seconds apart."""
    return [
        Attempt(**{
            "at": at + number * gap, "service": "chat", "release": "v2" if candidate else "v1",
            "arm": Arm.CANDIDATE if candidate else Arm.STABLE, "deployment": "d",
            "outcome": Outcome.OK, "conversation": name, "caller": caller, "chance": chance,
            "first_turn": number == 0, "evidence": True, **outcome})
        for number, outcome in enumerate(outcomes)
    ]


def tell(evidence: Evidence, attempts: Iterable[Attempt], *, close: bool = True) -> None:
    """Feed a conversation; with `close` all is told of it at once, as if it were old."""
    last: Attempt | None = None
    for last in attempts:
        evidence.add(last)
    if close and last is not None:
        unit = evidence._units.get(last.conversation)
        if unit is not None:
            evidence._forget(last.conversation, unit)


def failures(count: int, of: int = 1) -> list[dict[str, Any]]:
    """Outcomes of a conversation of which the first `count` turns fail."""
    return [{"outcome": Outcome.ERROR if number < count else Outcome.OK} for number in range(of)]


def experienced(questions: Iterable[Question], *, conversations: int = 200, seed: int = 1
                ) -> Evidence:
    """Evidence that has seen a healthy rollout."""
    draw = random.Random(seed)
    evidence = Evidence(questions, horizon=24 * HOUR)
    for number in range(conversations):
        outcomes = [{
            "outcome": Outcome.ERROR if draw.random() < 0.02 else Outcome.OK,
            "ttft": draw.lognormvariate(-1.0, 0.5), "score": draw.uniform(0.7, 1.0),
            "seconds": draw.lognormvariate(1.0, 0.5), "tokens": draw.randint(10, 500),
        } for _ in range(draw.randint(1, 4))]
        tell(evidence, turns(f"h{number}", outcomes, candidate=draw.random() < 0.1,
                             at=number * 2.0, gap=1.0))
    return evidence
