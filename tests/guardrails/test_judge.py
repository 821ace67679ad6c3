"""The judge: each guardrail against both arms, and the verdict on all together."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import (
    Action,
    Arms,
    Attempt,
    Decide,
    Guardrail,
    Outcome,
    Status,
    Window,
)
from coalmine.guardrails import judge as judge_arms
from coalmine.guardrails.judge import MIN_CONCURRENT, Finding, weigh
from coalmine.guardrails.lone_caller import MIN_CALLERS
from coalmine.guardrails.window import window_of

Make = Callable[..., Any]
EMPTY = Window(60.0)


def judge(
    guardrail: Guardrail, candidate: Window, stable: Window, baseline: dict[str, float],
    **more: Any,
) -> Finding:
    """Judge one guardrail on two windows and a baseline."""
    return judge_arms(guardrail, Arms(candidate, stable, baseline, **more))


# absolute limits ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("failed", "status"), [
    (4, Status.OK), (5, Status.OK), (6, Status.BREACH),
])
def test_the_comparison_is_strict(
    guardrail: Make, window: Make, failed: int, status: Status
) -> None:
    """At the limit nothing is broken."""
    found = judge(guardrail(max=0.05), window(100 - failed, failed), EMPTY, {})
    assert (found.status, found.against, found.limit) == (status, "limit", 0.05)


def test_a_lower_limit_is_broken_from_below(guardrail: Make, window: Make) -> None:
    """Availability is good when it is high; at the limit nothing is broken."""
    rule = guardrail(metric="availability", min=0.9)
    assert judge(rule, window(90, 10), EMPTY, {}).status is Status.OK
    found = judge(rule, window(89, 11), EMPTY, {})
    assert found.status is Status.BREACH
    assert "limit ≥ 90 %" in found.sentence


def test_an_arm_that_is_down_breaks_availability(guardrail: Make, attempt: Make) -> None:
    """A candidate without deployments has no attempts, and yet enough to be judged by."""
    down = window_of(60.0, (attempt(1.0, Outcome.DOWN, conversation=f"c{i}") for i in range(30)))
    found = judge(guardrail(metric="availability", min=0.99, min_conversations=30), down, EMPTY, {})
    assert (found.status, found.action) == (Status.BREACH, Action.ROLLBACK)


def test_a_latency_is_held_to_a_multiple_of_its_objective(guardrail: Make, window: Make) -> None:
    """800 ms and a ratio of 2 is a limit of 1.6 s, whatever stable does."""
    rule = guardrail(metric="ttft_p99", slo="800ms", max_slo_ratio=2)
    assert judge(rule, window(50, ttft=1.5), EMPTY, {}).status is Status.OK
    found = judge(rule, window(50, ttft=1.7), EMPTY, {})
    assert (found.status, found.limit) == (Status.BREACH, pytest.approx(1.6))


def test_the_window_is_never_shorter_than_half_a_minute(guardrail: Make) -> None:
    """A rate over less would be one request's."""
    assert guardrail(max=0.1).seconds == guardrail(max=0.1, **{"for": "5s"}).seconds == 30
    assert guardrail(max=0.1, **{"for": "5m"}).seconds == 300


# relative limits ---------------------------------------------------------------------------------
def test_a_ratio_is_of_the_concurrent_stable_arm(guardrail: Make, window: Make) -> None:
    """Not of the baseline, as long as there is a stable arm at the same time."""
    rule, stable = guardrail(max_ratio=2), window(90, 10)
    assert judge(rule, window(80, 20), stable, {"error_rate": 0.0}).status is Status.OK
    found = judge(rule, window(79, 21), stable, {"error_rate": 0.9})
    assert (found.status, found.against, found.stable) == (Status.BREACH, "stable", 0.1)
    assert "stable 10 %" in found.sentence


def test_an_increase_is_relative(guardrail: Make, window: Make) -> None:
    """0.3 is +30 %."""
    rule = guardrail(metric="request_p95", max_increase=0.3)
    stable = window(50, seconds=1.0)
    assert judge(rule, window(50, seconds=1.25), stable, {}).status is Status.OK
    assert judge(rule, window(50, seconds=1.4), stable, {}).status is Status.BREACH


def test_a_ratio_can_be_a_lower_limit(guardrail: Make, window: Make) -> None:
    """Answers half as long as stable's may be cut off."""
    rule, stable = guardrail(metric="tokens_per_request", min_ratio=0.5), window(50, tokens=100)
    assert judge(rule, window(50, tokens=50), stable, {}).status is Status.OK
    assert judge(rule, window(50, tokens=49), stable, {}).status is Status.BREACH


def test_with_too_little_of_stable_the_recorded_baseline_counts_and_it_says_so(
    guardrail: Make, window: Make
) -> None:
    """In the bake few conversations are left on stable."""
    stable, baseline = window(MIN_CONCURRENT - 1), {"error_rate": 0.1, "attempts": 500.0}
    found = judge(guardrail(max_ratio=2), window(70, 30), stable, baseline)
    assert (found.status, found.against, found.stable) == (Status.BREACH, "baseline", 0.1)
    assert "recorded baseline 10 %" in found.sentence


def test_the_baseline_counts_where_stable_has_no_such_figure(
    guardrail: Make, window: Make
) -> None:
    """Stable answers, but none of it as a stream; before the rollout it did."""
    rule = guardrail(metric="ttft_p95", max_increase=0.3)
    found = judge(rule, window(50, ttft=2.0), window(50), {"ttft_p95": 1.0, "attempts": 50.0})
    assert (found.status, found.against) == (Status.BREACH, "baseline")


@pytest.mark.parametrize("baseline", [{}, {"error_rate": 0.0, "attempts": 3.0}])
def test_without_anything_to_compare_with_it_has_no_data(
    guardrail: Make, window: Make, baseline: dict[str, float]
) -> None:
    """Three attempts are no baseline."""
    found = judge(guardrail(max_ratio=2), window(0, 50), EMPTY, baseline)
    assert (found.status, found.action) == (Status.NO_DATA, None)
    assert "nothing to compare with" in found.sentence


# corroboration ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("evidence", "alone", "action", "said"), [
    (None, False, Action.PAUSE, "no evidence can corroborate it"),
    (1.0, False, Action.PAUSE, "evidence 1 of the 20 that would corroborate it, so it only pauses"),
    (19.9, False, Action.PAUSE, "evidence 19.9 of the 20"),
    (20.0, False, Action.ROLLBACK, "corroborated by evidence 20"),
    (1.0, True, Action.ROLLBACK, "limit"),
])
def test_a_relative_breach_rolls_back_only_when_corroborated(
    guardrail: Make, window: Make, evidence: float | None, alone: bool, action: Action, said: str
) -> None:
    """Else it pauses; `alone: true` restores the literal rule."""
    found = judge(guardrail(max_ratio=2, alone=alone), window(70, 30), window(90, 10), {},
                  evidence=evidence)
    assert (found.status, found.action, found.evidence) == (Status.BREACH, action, evidence)
    assert said in found.sentence


def test_an_absolute_breach_needs_no_corroboration(guardrail: Make, window: Make) -> None:
    """Its minimum of conversations is enough."""
    found = judge(guardrail(max=0.05), window(70, 30), window(100), {}, evidence=1.0)
    assert found.action is Action.ROLLBACK


# stable shows it too ------------------------------------------------------------------------------
@pytest.mark.parametrize(("stable", "status"), [
    ((94, 6), Status.OK), ((86, 14), Status.OK), ((97, 3), Status.BREACH),
    ((100, 0), Status.BREACH),
])
def test_an_absolute_breach_that_stable_shows_too_does_not_count(
    guardrail: Make, window: Make, stable: tuple[int, int], status: Status
) -> None:
    """Beyond the limit as well, or at least half as bad: an incident hits both arms."""
    found = judge(guardrail(max=0.05), window(90, 10), window(*stable), {})
    assert found.status is status
    assert ("stable shows it too" in found.sentence) == (status is Status.OK)


def test_a_shared_host_never_excuses(guardrail: Make, window: Make) -> None:
    """Stable may be slow because the candidate is on its machine."""
    found = judge(guardrail(max=0.05), window(90, 10), window(90, 10), {}, shared_host=True)
    assert (found.status, found.action) == (Status.BREACH, Action.ROLLBACK)
    assert "the arms share a host" in found.sentence


def test_too_little_of_stable_excuses_nothing(guardrail: Make, window: Make) -> None:
    """Nine attempts show nothing."""
    found = judge(guardrail(max=0.05), window(90, 10), window(0, MIN_CONCURRENT - 1), {})
    assert found.status is Status.BREACH


def test_a_slow_stable_excuses_a_slow_candidate(guardrail: Make, window: Make) -> None:
    """But only when it breaks the limit itself: half as slow is no excuse."""
    rule = guardrail(metric="ttft_p99", slo="800ms", max_slo_ratio=2)
    assert judge(rule, window(50, ttft=1.7), window(50, ttft=1.8), {}).status is Status.OK
    assert judge(rule, window(50, ttft=1.7), window(50, ttft=1.5), {}).status is Status.BREACH


def test_latencies_under_another_load_are_held_to_the_baseline(
    guardrail: Make, window: Make
) -> None:
    """Stable was recorded when it bore the load that the candidate bears now."""
    rule = guardrail(metric="ttft_p95", max_increase=0.3)
    candidate, idle = window(50, ttft=1.0), window(50, ttft=0.5)
    baseline = {"ttft_p95": 0.9, "attempts": 500.0}
    assert judge(rule, candidate, idle, baseline).status is Status.BREACH
    found = judge(rule, candidate, idle, baseline, comparable=False)
    assert (found.status, found.against) == (Status.OK, "baseline")


# nothing failed on stable ------------------------------------------------------------------------
@pytest.mark.parametrize(("failed", "status"), [
    (0, Status.OK), (1, Status.OK), (2, Status.OK), (3, Status.BREACH), (50, Status.BREACH),
])
def test_an_errorless_stable_arm_neither_excuses_nor_condemns(
    guardrail: Make, window: Make, failed: int, status: Status
) -> None:
    """Twice one failure's worth may happen; the third is too many."""
    found = judge(guardrail(max_ratio=2), window(50 - failed, failed), window(5000), {})
    assert (found.status, found.stable) == (status, 0.0)


def test_it_says_that_no_failure_counted_as_one(guardrail: Make, window: Make) -> None:
    """So that people can follow where the limit comes from."""
    found = judge(guardrail(max_ratio=2), window(0, 50), window(5000), {})
    assert "stable 0 %, counted as one failure in 50, limit ≤ 4 %" in found.sentence
    assert found.one_in == 50


def test_where_stables_own_share_counts_it_does_not(guardrail: Make, window: Make) -> None:
    """Nor for a figure that is no share, nor for a limit that is written."""
    assert judge(guardrail(max_ratio=2), window(0, 50), window(490, 10), {}).one_in is None
    assert judge(guardrail(max=0.1), window(0, 50), window(5000), {}).one_in is None
    slow = guardrail(metric="request_p95", max_ratio=2)
    assert judge(slow, window(50), window(5000), {}).one_in is None


@pytest.mark.parametrize(("candidate", "stable", "limit", "status"), [
    ((11, 2), (400, 0), 15.4, Status.OK),
    ((10, 3), (400, 0), 15.4, Status.BREACH),
    ((50, 0), (400, 0), 4.0, Status.OK),
    ((400, 0), (400, 0), 0.5, Status.OK),
    ((900, 0), (400, 0), 0.5, Status.OK),
    ((50, 0), (392, 8), 4.0, Status.OK),
    ((900, 0), (392, 8), 4.0, Status.OK),
])
def test_the_references_example_is_right(
    guardrail: Make, window: Make, candidate: tuple[int, int], stable: tuple[int, int],
    limit: float, status: Status,
) -> None:
    """See "Where a limit comes from" in docs/policy.md."""
    rule = guardrail(max_ratio=2, min_conversations=8)
    found = judge(rule, window(*candidate), window(*stable), {})
    assert (round(found.limit * 100, 1), found.status) == (limit, status)


def test_without_data_no_limit_is_shown_that_a_few_attempts_would_make(
    guardrail: Make, window: Make
) -> None:
    """Twice one failure in 3 would be 66.7 %; a limit that is written stays."""
    found = judge(guardrail(max_ratio=2), window(3), window(5000), {})
    assert (found.status, found.limit, found.one_in) == (Status.NO_DATA, None, None)
    assert judge(guardrail(max=0.1), window(3), window(5000), {}).limit == 0.1


def test_a_small_stable_arm_is_not_taken_for_errorless(guardrail: Make, window: Make) -> None:
    """None of ten failed: it may well be one of ten."""
    rule = guardrail(max_ratio=2)
    assert judge(rule, window(990, 10), window(10), {}).status is Status.OK
    assert judge(rule, window(700, 300), window(10), {}).status is Status.BREACH


def test_an_errorless_baseline_is_treated_alike(guardrail: Make, window: Make) -> None:
    """Concurrent or recorded makes no difference."""
    rule, baseline = guardrail(max_ratio=2), {"error_rate": 0.0, "attempts": 900.0}
    assert judge(rule, window(48, 2), EMPTY, baseline).status is Status.OK
    assert judge(rule, window(47, 3), EMPTY, baseline).status is Status.BREACH


def test_full_availability_of_stable_does_not_condemn_the_first_failure(
    guardrail: Make, window: Make
) -> None:
    """The mirror image: 100 % counts as one failure less."""
    rule = guardrail(metric="availability", min_ratio=0.999)
    assert judge(rule, window(49, 1), window(5000), {}).status is Status.OK
    assert judge(rule, window(47, 3), window(5000), {}).status is Status.BREACH


def test_a_figure_of_nothing_has_no_multiples(guardrail: Make, window: Make) -> None:
    """Stable costs nothing where nobody set a price: no ratio of it can be judged."""
    rule = guardrail(metric="cost_per_request", max_ratio=2)
    found = judge(rule, window(50, cost=0.1), window(50, cost=0.0), {})
    assert found.status is Status.NO_DATA
    assert "stable is 0" in found.sentence


# too little data ---------------------------------------------------------------------------------
def test_too_few_conversations_hold(guardrail: Make, window: Make) -> None:
    """However bad they are; and it says how many are missing."""
    found = judge(guardrail(max=0.05, min_conversations=30), window(0, 29), EMPTY, {})
    assert (found.status, found.action, found.candidate) == (Status.NO_DATA, None, 1.0)
    assert "29 of 30 candidate conversations" in found.sentence
    broken = judge(guardrail(max=0.05, min_conversations=30), window(0, 30), EMPTY, {})
    assert broken.status is Status.BREACH


def test_many_attempts_of_one_conversation_are_one(guardrail: Make, window: Make) -> None:
    """A client that retries is not thirty users."""
    found = judge(guardrail(max=0.05), window(0, 500, conversation="c"), EMPTY, {})
    assert found.status is Status.NO_DATA


def test_a_metric_that_nobody_measured_has_no_data(guardrail: Make, window: Make) -> None:
    """No stream, no time to first token; that is a finding, and breaks nothing."""
    found = judge(guardrail(metric="ttft_p95", max=1.0), window(50), EMPTY, {})
    assert (found.status, found.candidate) == (Status.NO_DATA, None)
    assert "no figure yet" in found.sentence


def test_a_figure_that_few_conversations_have_has_no_data(guardrail: Make, window: Make) -> None:
    """One slow stream among thirty answers that are not streamed condemns nobody."""
    mixed = window(49)
    mixed.add(next(iter(window(1, ttft=9.0, conversation="streamed"))))
    found = judge(guardrail(metric="ttft_p95", max=1.0), mixed, EMPTY, {})
    assert (found.status, found.candidate is None) == (Status.NO_DATA, False)
    assert found.sentence.endswith("1 of 5 candidate conversations with a ttft_p95")


# one caller --------------------------------------------------------------------------------------
def crowd(attempt: Make, callers: int, **worst: Any) -> list[Attempt]:
    """So many callers answer well twenty times each; one more does as told, forty times."""
    usual = [attempt(caller=f"k{n}", conversation=f"k{n}-{i}", seconds=1.0, ttft=0.1)
             for n in range(callers - 1) for i in range(20)]
    return usual + [attempt(**{"caller": "worst", "alias": "team-x", "conversation": f"w-{i}",
                               **worst}) for i in range(40)]


def test_a_breach_of_one_caller_only_pauses_and_names_the_key(
    guardrail: Make, attempt: Make
) -> None:
    """One caller cannot decide over all."""
    found = judge(guardrail(max=0.05), window_of(60.0, crowd(
        attempt, MIN_CALLERS, outcome=Outcome.ERROR)), EMPTY, {})
    assert (found.status, found.action) == (Status.BREACH, Action.PAUSE)
    assert found.lone_caller == "team-x"
    assert "without the key team-x" in found.sentence


def test_with_few_callers_one_of_them_can_decide(guardrail: Make, attempt: Make) -> None:
    """With four the others prove nothing."""
    found = judge(guardrail(max=0.05), window_of(60.0, crowd(
        attempt, MIN_CALLERS - 1, outcome=Outcome.ERROR)), EMPTY, {})
    assert (found.action, found.lone_caller) == (Action.ROLLBACK, None)


def test_a_breach_of_all_is_nobodys_own(guardrail: Make, attempt: Make) -> None:
    """It stays without the worst."""
    others = [attempt(1.0, Outcome.ERROR, caller=f"k{n}", conversation=f"e{n}") for n in range(30)]
    found = judge(guardrail(max=0.05), window_of(60.0, [*others, *crowd(
        attempt, MIN_CALLERS, outcome=Outcome.ERROR)]), EMPTY, {})
    assert (found.action, found.lone_caller) == (Action.ROLLBACK, None)


def test_a_single_failure_of_the_others_does_not_corroborate(
    guardrail: Make, attempt: Make
) -> None:
    """With few attempts of the others it would be beyond any limit."""
    attempts = [attempt(1.0, Outcome.ERROR, caller="k0", conversation="x"),
                *(attempt(caller=f"k{n}", conversation=f"k{n}") for n in range(1, 5)),
                *(attempt(1.0, Outcome.ERROR, caller="worst", conversation=f"w{i}")
                  for i in range(40))]
    found = judge(guardrail(max=0.05), window_of(60.0, attempts), EMPTY, {})
    assert (found.action, found.lone_caller) == (Action.PAUSE, "worst")


@pytest.mark.parametrize(("metric", "limit", "worst"), [
    ("ttft_p95", 1.0, {"ttft": 30.0}),
    ("request_p90", 10.0, {"seconds": 120.0}),
    ("tokens_per_request", 100.0, {"tokens": 9000}),
    ("timeout_rate", 0.05, {"outcome": Outcome.TIMEOUT}),
])
def test_one_caller_cannot_decide_by_any_metric(
    guardrail: Make, attempt: Make, metric: str, limit: float, worst: dict[str, Any]
) -> None:
    """Prompts of a hundred thousand tokens are slow on any release."""
    attempts = [attempt(caller=f"k{n}", conversation=f"k{n}-{i}", ttft=0.1, tokens=10)
                for n in range(8) for i in range(20)]
    attempts += [attempt(caller="worst", conversation=f"w-{i}", **worst) for i in range(40)]
    found = judge(guardrail(metric=metric, max=limit), window_of(60.0, attempts), EMPTY, {})
    assert (found.status, found.action) == (Status.BREACH, Action.PAUSE)
    assert found.lone_caller == "worst"


# the verdict -------------------------------------------------------------------------------------
def finding(rule: Guardrail, status: Status, action: Action | None = None) -> Finding:
    return Finding(rule, status, rule.name, action=action)


def test_the_worst_finding_decides_and_they_are_ordered(guardrail: Make) -> None:
    """First what is broken, then what acts most, then what is most severe."""
    findings = [
        finding(guardrail(name="no data", max=0.5, severity="critical"), Status.NO_DATA),
        finding(guardrail(name="dry", max=0.5, severity="critical", dry_run=True), Status.BREACH),
        finding(guardrail(name="pause", max=0.5, severity="critical"), Status.BREACH, Action.PAUSE),
        finding(guardrail(name="mild", max=0.5, severity="mild"), Status.BREACH, Action.ROLLBACK),
        finding(guardrail(name="major", max=0.5), Status.BREACH, Action.ROLLBACK),
    ]
    verdict = weigh(findings, step_over=True, holding="")
    assert [f.guardrail.name for f in verdict.findings][:4] == ["major", "mild", "pause", "dry"]
    assert verdict.decision is Decide.ROLLBACK
    assert verdict.worst is verdict.findings[0]
    assert verdict.reason == "major"
    assert weigh(findings[:3], step_over=True, holding="").decision is Decide.PAUSE


def test_a_dry_run_is_shown_and_never_acts(guardrail: Make, window: Make) -> None:
    """It breaks, and the step ends all the same."""
    broken = judge(guardrail(max=0.05, dry_run=True), window(0, 50), EMPTY, {})
    assert (broken.status, broken.action) == (Status.BREACH, None)
    fine = judge(guardrail(max=0.99), window(50), EMPTY, {})
    verdict = weigh([broken, fine], step_over=True, holding="")
    assert (verdict.decision, verdict.worst) == (Decide.PROMOTE, None)
    assert verdict.findings[0].status is Status.BREACH


def test_what_is_waited_for_is_said(guardrail: Make, window: Make) -> None:
    """Nothing is broken, and the step is not over."""
    fine = judge(guardrail(max=0.99), window(50), EMPTY, {})
    verdict = weigh([fine], step_over=False, holding="step 1 soaks for 9 s more")
    assert (verdict.decision, verdict.reason) == (Decide.HOLD, "step 1 soaks for 9 s more")


def test_a_step_does_not_end_while_nothing_could_be_judged(guardrail: Make, window: Make) -> None:
    """Too little data never promotes; one guardrail that sees is enough."""
    blind = judge(guardrail(max=0.05, min_conversations=30), window(9), EMPTY, {})
    verdict = weigh([blind], step_over=True, holding="")
    assert verdict.decision is Decide.HOLD
    assert "9 of 30 candidate conversations" in verdict.reason
    seeing = judge(guardrail(max=0.99), window(9), EMPTY, {})
    assert weigh([blind, seeing], step_over=True, holding="").decision is Decide.PROMOTE
    assert weigh([], step_over=True, holding="").decision is Decide.PROMOTE


def test_a_finding_says_all_in_one_sentence(guardrail: Make, window: Make) -> None:
    """Measured, over how long, compared with what, and the limit, with units."""
    rule = guardrail(name="ttft", metric="ttft_p95", max_increase=0.3, **{"for": "5m"})
    candidate, stable = window(50, ttft=2.0, span=300.0), window(50, ttft=1.0, span=300.0)
    found = judge(rule, candidate, stable, {})
    assert found.sentence.startswith("ttft: ttft_p95 ")
    assert "ms over 5m (stable " in found.sentence
    candidate.forget(121.0)  # its first attempt was at 1.0
    assert "ms over 2m of 5m (stable " in judge(rule, candidate, stable, {}).sentence
    assert "limit ≤ " in found.sentence
