"""How the chance of a false alarm is shared by a policy's detectors.

The chance that any of several detectors ever gives a false alarm is at most the sum of theirs. So
the service's α is split; their wealths are never multiplied or averaged, as each reveals a
conversation at another moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from coalmine.guardrails.guardrail import Guardrail, Rule
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import Question, detectors_of

ALPHA = 0.01
"""Chance that a healthy candidate is ever stopped by evidence, all guardrails of it together."""

PROVEN = 20.0
"""Evidence from which on a candidate is proven no worse (α = 5 %), and from which on evidence
corroborates a static breach."""


def question_of(guardrail: Guardrail, *, against: bool = False) -> Question | None:
    """Return what evidence asks for a guardrail, None where there is none on its metric."""
    measure = guardrail.metric.measure
    lower = guardrail.min is not None or guardrail.min_ratio is not None
    if measure is None or (lower and measure not in (Measure.ERRORS, Measure.SCORE)):
        return None  # evidence is that there is more of it, and this one minds less
    return Question(measure, guardrail.no_worse_by if against else guardrail.worse_by, against)


def with_evidence(guardrails: Iterable[Guardrail]) -> list[Guardrail]:
    """Return the guardrails that evidence decides."""
    return [guardrail for guardrail in guardrails if guardrail.rule is Rule.EVIDENCE]


def _detectors(guardrail: Guardrail) -> int:
    question = question_of(guardrail)
    return detectors_of(question) if question is not None else 0


def bars(guardrails: Sequence[Guardrail], alpha: float) -> dict[str, float]:
    """Return by guardrail's name the wealth at which one of its detectors gives an alarm."""
    ours = with_evidence(guardrails)
    left = alpha - sum(guardrail.alpha or 0.0 for guardrail in ours)
    sharing = sum(_detectors(guardrail) for guardrail in ours if guardrail.alpha is None)
    found = {}
    for guardrail in ours:
        if guardrail.alpha is None:
            found[guardrail.name] = sharing / left
        else:
            found[guardrail.name] = _detectors(guardrail) / guardrail.alpha
    return found


def misfits(guardrails: Sequence[Any], alpha: float) -> Iterable[tuple[int, str]]:
    """Yield the guardrails whose α does not fit the service's: place in the list, and why."""
    used, sharing = 0.0, None
    for place, guardrail in enumerate(guardrails):
        if getattr(guardrail, "rule", None) is not Rule.EVIDENCE:
            continue
        own = getattr(guardrail, "alpha", None)
        if own is None:
            sharing = place
            continue
        used += own
        if used > alpha * (1 + 1e-9):
            yield place, (f"the guardrails' alpha add up to {used:g}, more than the service's "
                          f"{alpha:g}: lower one of them, or raise alpha of the service")
            return
    if sharing is not None and used >= alpha * (1 - 1e-9):
        yield sharing, (f"nothing of the service's alpha ({alpha:g}) is left for it: the others "
                        f"take {used:g}")
