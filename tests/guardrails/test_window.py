"""A window: forgets exactly, and is at any time what a rebuilt one would be."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.guardrails import Attempt, Metric, Outcome, Window
from coalmine.guardrails.attempt import NO_CONVERSATION
from coalmine.guardrails.window import KEPT, window_of
from coalmine.routing import Arm

ATTEMPTS = st.lists(st.builds(
    Attempt, at=st.floats(min_value=0, max_value=100), service=st.just("chat"),
    release=st.just("v2"), arm=st.just(Arm.CANDIDATE), deployment=st.just("d"),
    outcome=st.sampled_from(Outcome), conversation=st.sampled_from(["", "a", "b", "c"]),
    caller=st.sampled_from(["k1", "k2", "k3"]), ttft=st.none() | st.floats(0, 10),
    seconds=st.floats(0, 100), tokens=st.none() | st.integers(0, 99),
    cost=st.none() | st.floats(0, 1),
), max_size=60)


def facts(window: Window) -> dict[str, Any]:
    found: dict[str, Any] = {metric.value: window.value(metric) for metric in Metric
                             if metric is not Metric.THROUGHPUT}  # which knows of the time before
    found |= {f"conversations {m.value}": window.conversations_for(m, 2) for m in Metric}
    found |= {f"units {metric.value}": window.units(metric) for metric in Metric}
    return found | {
        "judged": window.judged, "failures": window.failures, "callers": window.callers,
        "conversations": window.conversations,
    }


def near(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value if value is None else pytest.approx(value, abs=1e-9)
            for name, value in found.items()}


@given(ATTEMPTS, st.floats(min_value=0, max_value=200))
def test_forgetting_is_exact_in_whatever_order_they_came(
    attempts: list[Attempt], now: float
) -> None:
    """As if only those within the span had ever come."""
    window = window_of(60.0, attempts)
    window.forget(now)
    assert facts(window) == near(facts(window_of(60.0, [a for a in attempts if a.at >= now - 60])))


@given(ATTEMPTS, st.sampled_from(["k1", "k2", "k3", "k4"]))
def test_without_a_caller_it_is_the_window_rebuilt(attempts: list[Attempt], caller: str) -> None:
    """And the shares without one are the rebuilt window's."""
    window, rest = window_of(60.0, attempts), [a for a in attempts if a.caller != caller]
    assert facts(window.without(caller)) == near(facts(window_of(60.0, rest)))
    rebuilt = window_of(60.0, rest)
    for metric in (Metric.ERROR_RATE, Metric.TIMEOUT_RATE, Metric.AVAILABILITY):
        assert window.share_without(metric, caller) == (rebuilt.bad(metric), rebuilt.units(metric))


def test_one_from_the_future_does_not_keep_the_others(attempt: Callable[..., Attempt]) -> None:
    """A host's clock may run ahead; the window must not wait for it."""
    window = window_of(60.0, [attempt(1e9), attempt(5.0), attempt(6.0)])
    window.forget(100.0)
    assert window.judged == 1


def test_one_that_comes_late_leaves_in_its_time(attempt: Callable[..., Attempt]) -> None:
    """A worker that was cut off ships what ended a while ago."""
    window = window_of(60.0, [attempt(100.0), attempt(41.0)])
    window.forget(102.0)
    assert window.judged == 1


def test_nothing_judged_is_no_figure(attempt: Callable[..., Attempt]) -> None:
    """What clients caused makes neither a rate nor a conversation."""
    window = window_of(60.0, [attempt(1.0, Outcome.CLIENT_ERROR), attempt(1.0, Outcome.DISCONNECT)])
    assert {window.value(metric) for metric in Metric} == {None}
    assert (window.conversations, window.callers) == (0, 0)


def test_the_rates_are_shares_of_what_was_judged(attempt: Callable[..., Attempt]) -> None:
    """Errors, timeouts and the incomplete of those and the answered; down for availability only."""
    window = window_of(60.0, [attempt(1.0, outcome) for outcome in Outcome for _ in range(2)])
    assert window.value(Metric.ERROR_RATE) == 6 / 8
    assert window.value(Metric.TIMEOUT_RATE) == 2 / 8
    assert window.value(Metric.AVAILABILITY) == 2 / 10


def test_throughput_is_known_when_the_window_is_filled(attempt: Callable[..., Attempt]) -> None:
    """The first half minute of a minute is no half of what is answered."""
    window = window_of(60.0, [attempt(float(at)) for at in range(90)])
    window.forget(59.0)
    assert window.value(Metric.THROUGHPUT) is None
    window.forget(90.0)
    assert window.value(Metric.THROUGHPUT) == 1.0
    assert window.without("nobody").value(Metric.THROUGHPUT) == 1.0


def test_unrecognised_requests_are_no_conversation(attempt: Callable[..., Attempt]) -> None:
    """Neither are those that are no turn of any."""
    window = window_of(60.0, [
        attempt(conversation=""), attempt(conversation=NO_CONVERSATION), attempt(conversation="a")])
    assert (window.judged, window.conversations) == (3, 1)


def test_an_arm_that_is_down_for_everyone_has_conversations_for_availability(
    attempt: Callable[..., Attempt],
) -> None:
    """Or a crash loop hides behind too little data."""
    window = window_of(60.0, [attempt(1.0, Outcome.DOWN, conversation=f"c{i}") for i in range(9)])
    assert window.conversations_for(Metric.AVAILABILITY, 5) == 9
    assert window.conversations_for(Metric.ERROR_RATE, 5) == 0
    assert window.value(Metric.AVAILABILITY) == 0


def test_failed_attempts_have_no_latency(attempt: Callable[..., Attempt]) -> None:
    """A fast error must not make a release look fast."""
    window = window_of(60.0, [attempt(ttft=2.0, seconds=4.0),
                              attempt(1.0, Outcome.ERROR, ttft=0.001, seconds=0.001)])
    assert window.value(Metric.TTFT_P50) == pytest.approx(2.0, rel=0.01)
    assert window.value(Metric.REQUEST_P50) == pytest.approx(4.0, rel=0.01)


def test_the_worst_caller_depends_on_what_is_broken(attempt: Callable[..., Attempt]) -> None:
    """Most failures, most values beyond the limit, or the farthest pull at a mean."""
    window = window_of(60.0, [
        *(attempt(1.0, Outcome.ERROR, caller="fails") for _ in range(3)),
        *(attempt(caller="slow", ttft=9.0, tokens=1) for _ in range(3)),
        *(attempt(caller="long", ttft=0.1, tokens=5000) for _ in range(2)),
        *(attempt(caller="usual", ttft=0.1, tokens=10) for _ in range(9)),
    ])
    assert window.worst_caller(Metric.ERROR_RATE, 0.05) == "fails"
    assert window.worst_caller(Metric.TTFT_P95, 1.0) == "slow"
    assert window.worst_caller(Metric.TOKENS_PER_REQUEST, 100.0) == "long"
    assert window.worst_caller(Metric.TIMEOUT_RATE, 0.0) is None


def test_people_read_the_keys_alias(attempt: Callable[..., Attempt]) -> None:
    """Its hash where it has none."""
    window = window_of(60.0, [attempt(caller="a1"), attempt(caller="b2", alias="team-b")])
    assert (window.alias_of("b2"), window.alias_of("a1")) == ("team-b", "a1")


def test_the_number_kept_is_bounded(attempt: Callable[..., Attempt]) -> None:
    """The oldest leave early; what is left adds up."""
    window = window_of(1e9, (attempt(float(i)) for i in range(KEPT + 10)))
    assert window.judged == KEPT


def test_it_says_what_it_tells_of(attempt: Callable[..., Attempt]) -> None:
    """Less than its span in a young rollout, after a take-over, and with too many attempts."""
    window = window_of(3600.0, [attempt(0.0), attempt(500.0)])
    window.forget(960.0)
    assert (window.covered, window.covered_in_words) == (960.0, "16m of 1h")
    window.forget(3500.0)
    assert window.covered_in_words == "1h"
    full = window_of(3600.0, (attempt(0.01 * i) for i in range(KEPT + 2000)))
    full.forget(1020.0)
    assert full.covered == pytest.approx(1000.0)
    assert full.value(Metric.THROUGHPUT) == pytest.approx(100.0)
