"""Whether a limit is only broken because of one caller."""

from __future__ import annotations

import math
from collections.abc import Callable

from coalmine.guardrails.guardrail import Metric
from coalmine.guardrails.window import Window

MIN_CALLERS = 5
"""Active callers from which on one of them alone cannot roll back."""


def beyond(value: float, limit: float, *, lower: bool) -> bool:
    """Return whether a figure has passed a limit, or a lower one."""
    return value < limit if lower else value > limit


def lone_caller(metric: Metric, candidate: Window, limit_for: Callable[[float], float | None], *,
                lower: bool = False) -> str | None:
    """Return the key alias of the one caller from whom a breach comes, None when it does not.

    Of a share more than one failure must be left without that caller: a single one among the few
    attempts of the others would else corroborate whatever the one caller did.

    Args:
        metric: what is limited.
        candidate: the candidate's window.
        limit_for: the limit of a figure made of so many attempts, None when there is none.
        lower: whether it is a lower one.
    """
    limit = limit_for(math.inf)
    if candidate.callers < MIN_CALLERS or limit is None:
        return None
    worst = candidate.worst_caller(metric, limit, lower=lower)
    if worst is None:
        return None
    if metric.is_share:
        bad, units = candidate.share_without(metric, worst)
        limit = limit_for(units)
        rest = bad / units if bad > 1 else None
        if rest is not None and metric is Metric.AVAILABILITY:
            rest = 1 - rest
    else:
        rest = candidate.without(worst).value(metric)
    if rest is not None and limit is not None and beyond(rest, limit, lower=lower):
        return None
    return candidate.alias_of(worst)
