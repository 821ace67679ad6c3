"""Error-budget burn rate: how many times too fast a share of failures uses up what an SLO allows.

With an SLO of 0.999 one attempt in a thousand may fail; a failure share of 1.44 % burns that budget
14.4 times too fast. A breach needs both windows: the long one so that it matters, the short one (a
twelfth) so that it still goes on ("The Site Reliability Workbook", chapter 5).
"""

from __future__ import annotations

from functools import partial

from coalmine.guardrails.guardrail import Guardrail, Metric
from coalmine.guardrails.judge import MIN_CONCURRENT, Arms, Finding, Status, act
from coalmine.guardrails.lone_caller import lone_caller
from coalmine.guardrails.window import Window


def burn_rate(guardrail: Guardrail, window: Window, less: int = 0) -> float | None:
    """Return the burn rate over a window, with so many failures less; None without data."""
    assert guardrail.slo is not None
    units = window.units(guardrail.metric)
    if not units:
        return None
    return max(0, window.bad(guardrail.metric) - less) / units / (1.0 - guardrail.slo)


def judge_burn_rate(guardrail: Guardrail, long: Arms, short: Arms) -> Finding:
    """Judge a guardrail with `max_burn_rate`.

    Args:
        guardrail: the guardrail.
        long: both arms over its window.
        short: both arms over a twelfth of it.
    """
    limit = guardrail.max_burn_rate
    assert limit is not None
    name, metric = guardrail.name, guardrail.metric
    slow, fast = (burn_rate(guardrail, arms.candidate) for arms in (long, short))
    say = partial(Finding, guardrail, candidate=slow, limit=limit, against="budget",
                  evidence=long.evidence)
    conversations = long.candidate.conversations_for(metric, guardrail.min_conversations)
    if slow is None or conversations < guardrail.min_conversations:
        return say(status=Status.NO_DATA, sentence=f"{name}: {conversations} of "
                   f"{guardrail.min_conversations} candidate conversations")
    words = (f"{name}: the error budget burns at {slow:.3g} over "
             f"{long.candidate.covered_in_words} and {0.0 if fast is None else fast:.3g} over "
             f"{short.candidate.covered_in_words} "
             f"(limit {limit:g}, SLO {guardrail.slo:g})")
    if fast is None or slow <= limit or fast <= limit:
        return say(status=Status.OK, sentence=words)
    # One failure in a few attempts burns any budget, and is chance.
    fewer = [burn_rate(guardrail, arms.candidate, less=1) for arms in (long, short)]
    if any(rate is None or rate <= limit for rate in fewer):
        return say(status=Status.OK, sentence=f"{words}; one failure less, and it does not")
    theirs = burn_rate(guardrail, long.stable)
    if (theirs is not None and long.stable.judged >= MIN_CONCURRENT and slow <= 2.0 * theirs
            and not long.shared_host):
        return say(status=Status.OK, stable=theirs, sentence=f"{words}; stable's burns at "
                   f"{theirs:.3g}, so it is not the candidate's")
    assert guardrail.slo is not None
    share = limit * (1.0 - guardrail.slo)
    answered = metric is Metric.AVAILABILITY
    lone = lone_caller(metric, long.candidate, lower=answered,
                       limit_for=lambda _: 1.0 - share if answered else share)
    action, why = act(guardrail, lone, long.evidence)
    return say(status=Status.BREACH, sentence=words + why, action=action, lone_caller=lone)
