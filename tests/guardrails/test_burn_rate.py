"""Burn rates: over two windows, against an SLO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Action, Arms, Outcome, Status, Window
from coalmine.guardrails.burn_rate import burn_rate, judge_burn_rate

Make = Callable[..., Any]
EMPTY = Window(300.0)


@pytest.fixture
def rule(guardrail: Make) -> Callable[..., Any]:
    """The classic: 14.4 times too fast over an hour and five minutes."""
    return lambda **fields: guardrail(**{"slo": 0.99, "max_burn_rate": 10, "for": "1h", **fields})


def test_a_share_of_failures_burns_the_budget(rule: Make, window: Make) -> None:
    """1 % allowed and 5 % failing is five times too fast; no data burn nothing."""
    assert burn_rate(rule(), window(95, 5)) == pytest.approx(5.0)
    assert burn_rate(rule(metric="availability"), window(95, 5)) == pytest.approx(5.0)
    assert burn_rate(rule(), EMPTY) is None


@pytest.mark.parametrize(("long", "short", "status"), [
    ((88, 12), (88, 12), Status.BREACH),
    ((90, 10), (88, 12), Status.OK),
    ((88, 12), (90, 10), Status.OK),
    ((88, 12), (0, 0), Status.OK),
    ((0, 2), (0, 2), Status.NO_DATA),
])
def test_a_breach_needs_both_windows(
    rule: Make, window: Make, long: tuple[int, int], short: tuple[int, int], status: Status
) -> None:
    """The long one that it matters, the short one that it goes on; strictly beyond the limit."""
    found = judge_burn_rate(rule(), Arms(window(*long), EMPTY, {}),
                            Arms(window(*short), EMPTY, {}))
    assert found.status is status


def test_one_failure_alone_burns_nothing(rule: Make, window: Make) -> None:
    """In a few attempts it would burn any budget."""
    few = Arms(window(59, 1), EMPTY, {})
    found = judge_burn_rate(rule(slo=0.999), few, few)
    assert (found.status, found.candidate) == (Status.OK, pytest.approx(1000 / 60))
    assert found.sentence.endswith("; one failure less, and it does not")
    more = Arms(window(58, 2), EMPTY, {})
    assert judge_burn_rate(rule(slo=0.999), more, more).status is Status.BREACH


def test_it_is_told_in_words_and_rolls_back_alone(rule: Make, window: Make) -> None:
    """It is absolute: no corroboration is needed."""
    long, short = (Arms(window(80, 20, span=span), window(100, span=span), {})
                   for span in (3600.0, 300.0))
    found = judge_burn_rate(rule(), long, short)
    assert found.action is Action.ROLLBACK
    assert (found.candidate, found.limit, found.against) == (pytest.approx(20.0), 10.0, "budget")
    assert found.sentence == ("g: the error budget burns at 20 over 1h and 20 over 5m "
                              "(limit 10, SLO 0.99)")


def test_stable_that_burns_as_fast_excuses(rule: Make, window: Make) -> None:
    """Unless the arms share a host."""
    both = window(80, 20), window(85, 15)
    excused = judge_burn_rate(rule(), Arms(*both, {}), Arms(*both, {}))
    assert excused.status is Status.OK
    assert "stable's burns at 15" in excused.sentence
    shared = Arms(*both, {}, None, True)
    assert judge_burn_rate(rule(), shared, shared).status is Status.BREACH


@pytest.mark.parametrize("metric", ["error_rate", "availability"])
def test_one_key_that_burns_it_alone_only_pauses(
    rule: Make, attempt: Make, window: Make, metric: str
) -> None:
    """Given five that call."""
    lone = window(100, callers=5)
    for number in range(40):
        lone.add(attempt(1.0, Outcome.ERROR, conversation=f"x{number}", caller="loud",
                         alias="batch"))
    found = judge_burn_rate(rule(metric=metric), Arms(lone, EMPTY, {}), Arms(lone, EMPTY, {}))
    assert (found.action, found.lone_caller) == (Action.PAUSE, "batch")
