"""A trial: what the two arms of a rollout say together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.guardrails.outcomes import failures, turns

from coalmine.guardrails import Attempt, Decide, Outcome, Status
from coalmine.rollout import (
    Promote,
    Resume,
    Service,
    ServicePolicy,
    Start,
    apply,
    first_state,
)
from coalmine.rollout.advance import Observed, next_event
from coalmine.rollout.trial import RECENT, Trial, horizon
from coalmine.routing import Arm

BEGAN = 1_700_000_000.0


def policy(**fields: Any) -> ServicePolicy:
    return ServicePolicy.model_validate({
        "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}, "stable": "v1",
        "rollout": {"steps": [{"weight": 10, "for": "10m"}, {"weight": 50, "for": "10m"}]},
        **fields,
    })


class Case:
    """A rollout under a policy, and what is told of it."""

    def __init__(self, rules: ServicePolicy) -> None:
        self.service: Service = apply(
            first_state("chat", rules, BEGAN),
            Start(at=BEGAN, who="ann", release="v2", policy=rules))
        assert self.service.rollout is not None
        self.trial = Trial(self.service.rollout, "v1", "v2")
        self.trial.follow(self.service.rollout)
        self.now = BEGAN

    def tell(self, *, candidates: int = 0, failed: int = 0, stable: int = 0,
             stable_failed: int = 0, chance: float = 0.1, **fields: Any) -> None:
        """Conversations of one turn, one a second."""
        for number in range(candidates + stable):
            self.now += 1.0
            ours = number < candidates
            bad = failed if ours else stable_failed + candidates
            outcome = {**failures(int(number < bad))[0], **fields}
            for attempt in turns(f"{self.now}", [outcome], candidate=ours, at=self.now,
                                 chance=chance, caller=f"k{number % 30}"):
                self.trial.add(attempt)

    def verdict(self, *, over: bool = False) -> Any:
        self.trial.pass_time(self.now)
        return self.trial.verdict(self.service, self.now, over=over, waiting="soaks")


@pytest.fixture
def case() -> Callable[..., Case]:
    """A rollout under the usual policy, with what differs."""
    return lambda **fields: Case(policy(**fields))


def test_without_guardrails_in_the_policy_a_bad_candidate_is_rolled_back(case: Any) -> None:
    """The defaults protect: errors by evidence."""
    one = case()
    one.tell(stable=100)
    one.tell(candidates=4, failed=4)
    found = one.verdict()
    assert (found.decision, found.worst.guardrail.name) == (Decide.ROLLBACK, "errors")
    assert one.trial.alarmed
    assert "the candidate failed 4 of 4 first turns where stable fails 0 %" in found.reason


@pytest.mark.parametrize(("measure", "good", "bad"), [
    ("ttft", 0.3, 3.0), ("score", 0.9, 0.3), ("inter_token", 0.02, 0.2),
])
def test_the_defaults_watch_latency_and_scores_too(
    case: Any, measure: str, good: float, bad: float
) -> None:
    """Each with evidence of its own."""
    one = case()
    one.tell(stable=200, **{measure: good})
    one.tell(candidates=40, **{measure: bad})
    one.now += 120.0
    found = one.verdict()
    assert found.decision is Decide.ROLLBACK
    assert found.worst.guardrail.metric.value == measure


def test_a_candidate_whose_answers_take_longer_pauses_and_asks(case: Any) -> None:
    """It may only say more."""
    one = case()
    one.tell(stable=200, seconds=2.0)
    one.tell(candidates=40, seconds=20.0)
    one.now += 120.0
    found = one.verdict()
    assert (found.decision, found.worst.guardrail.name) == (Decide.PAUSE, "request")


def test_a_healthy_candidate_is_promoted_after_its_soak(case: Any) -> None:
    """By default a step needs no evidence for it."""
    one = case()
    one.tell(candidates=10, stable=90)
    assert one.verdict().decision is Decide.HOLD
    assert one.verdict(over=True).decision is Decide.PROMOTE


def test_a_step_that_requires_evidence_holds_until_it_is_proven(case: Any) -> None:
    """It says what is missing; what nobody measures is not waited for."""
    one = case(rollout={"steps": [{"weight": 10, "require": "evidence"}]})
    one.tell(candidates=10, stable=90)
    found = one.verdict(over=True)
    assert found.decision is Decide.HOLD
    assert "not yet proven no worse: errors (evidence 1 of 20)" in found.reason
    assert "score" not in found.reason
    for _ in range(12):
        one.tell(candidates=1, stable=20, stable_failed=20)
    # Its times and errors are now known to be no worse.
    one.tell(candidates=60, stable=300)
    one.now += 120.0
    assert one.verdict(over=True).decision is Decide.PROMOTE


def test_a_service_that_never_fails_can_be_promoted_by_evidence(case: Any) -> None:
    """No ratio of failures can be shown then, only that hardly any conversation fails."""
    one = case(guardrails=[{"name": "errors", "metric": "error_rate", "rule": "evidence"}],
               rollout={"steps": [{"weight": 10, "require": "evidence"}]})
    for conversations, decision in ((1000, Decide.HOLD), (400, Decide.PROMOTE)):
        for _ in range(conversations):
            one.tell(candidates=1, stable=2, chance=1 / 3)
        one.now += 900.0
        assert one.verdict(over=True).decision is decision


def test_a_split_that_does_not_fit_stops_the_growth(case: Any) -> None:
    """It says how many there should have been, and breaks nothing."""
    one = case()
    one.tell(candidates=2, stable=400, chance=0.1)
    one.tell(candidates=2, stable=400, chance=0.1)
    one.now += 120.0
    found = one.verdict(over=True)
    assert found.decision is Decide.HOLD
    assert "the candidate got 4 of 804 conversations where 80 were to be expected" in found.reason


def test_a_relative_limit_is_corroborated_by_the_same_evidence(case: Any) -> None:
    """Failures all over corroborate it; a handful only pause."""
    rule = {"name": "ratio", "metric": "error_rate", "max_ratio": 2, "for": "30m",
            "min_conversations": 10}
    mild = case(guardrails=[rule])
    mild.tell(candidates=97, stable=900, stable_failed=9)
    mild.tell(candidates=3, failed=3)
    found = mild.verdict()
    assert found.decision is Decide.PAUSE
    assert "so it only pauses" in found.reason
    grave = case(guardrails=[rule])
    grave.tell(candidates=80, stable=900, stable_failed=9)
    grave.tell(candidates=20, failed=20)
    found = grave.verdict()
    assert found.decision is Decide.ROLLBACK
    assert "corroborated by evidence" in found.reason


def test_a_burn_rate_is_judged_over_both_of_its_windows(case: Any) -> None:
    """By the policy's own SLO."""
    one = case(guardrails=[{"name": "budget", "metric": "error_rate", "slo": 0.99,
                            "max_burn_rate": 5, "for": "1h", "min_conversations": 10}])
    one.tell(candidates=50, failed=10)
    one.now += 301.0
    one.tell(candidates=10)
    found = one.verdict()
    assert found.worst is None, "the failures are more than five minutes ago"
    one.tell(candidates=5, failed=5)
    found = one.verdict()
    assert (found.decision, found.worst.guardrail.name) == (Decide.ROLLBACK, "budget")


def test_a_dry_run_is_judged_and_shown_and_never_acts(case: Any) -> None:
    """Its evidence is told like any."""
    one = case(guardrails=[{"name": "errors", "metric": "error_rate", "rule": "evidence",
                            "dry_run": True}])
    one.tell(stable=100)
    one.tell(candidates=10, failed=10)
    found = one.verdict()
    (finding,) = found.findings
    assert (finding.status, finding.action, found.worst) == (Status.BREACH, None, None)
    assert finding.evidence >= finding.bar


def test_what_ended_before_the_rollout_teaches_only_the_scale(case: Any) -> None:
    """The same releases may have met a minute ago."""
    one = case()
    for attempt in turns("old", failures(1), candidate=True, at=BEGAN - 1):
        one.trial.add(attempt)
    assert one.trial.conversations(Arm.CANDIDATE) == 0
    assert one.verdict().worst is None


def test_latencies_speak_only_where_the_loads_are_alike(case: Any) -> None:
    """Not against a candidate that bears thrice the load, nor for one that bears a third; unless a
    host is shared, which excuses nothing."""
    trial = case().trial
    for loads, shared, found in (
        ((1.0, 1.0), False, (True, True)), ((3.0, 1.0), False, (False, True)),
        ((1.0, 3.0), False, (True, False)), ((3.0, 1.0), True, (True, True)),
        ((0.0, 0.0), False, (True, True)),
    ):
        trial.compare_loads(*loads, shared_host=shared)
        assert (trial.evidence.comparable, trial.evidence.provable) == found


def test_each_step_counts_its_own_conversations(case: Any) -> None:
    """The evidence goes on."""
    one = case()
    one.tell(candidates=3)
    assert one.trial.step_conversations == 3
    one.service = apply(one.service, Promote(at=one.now + 1, who="ann"))
    assert one.service.rollout is not None
    one.trial.follow(one.service.rollout)
    assert one.trial.step_conversations == 0
    assert one.trial.conversations(Arm.CANDIDATE) == 3


def test_cash_is_for_the_whole_planned_length() -> None:
    """Soaks and bake."""
    assert horizon(policy(rollout={"steps": [{"weight": 1, "for": "10m"}], "bake": "2h"})) == 7800.0
    assert horizon(policy(rollout={"steps": [{"weight": 1}], "bake": 0})) == 3600.0


def test_a_hang_is_no_attempt(case: Any) -> None:
    """It tells the evidence, and is counted when it ends."""
    one = case()
    attempt: Attempt = turns("c", [{"outcome": Outcome.WAITING, "ttft": 9.0}], candidate=True,
                             at=BEGAN + 1)[0]
    one.trial.add(attempt)
    assert one.trial.attempts[Arm.CANDIDATE] == 0
    assert not list(one.trial._windows[Arm.CANDIDATE][RECENT])


def test_who_resumes_tolerates_what_paused_it(case: Any) -> None:
    """Evidence does not fall back by itself; a person has looked, and the rollout goes on."""
    one = case()
    one.tell(stable=90, seconds=2.0)
    for _ in range(40):
        one.tell(candidates=1, seconds=20.0)
        one.tell(stable=8, seconds=2.0)
    one.now += 120.0
    found = one.verdict(over=True)
    assert (found.decision, found.worst.guardrail.name) == (Decide.PAUSE, "request")
    paused = next_event(one.service, Observed(now=one.now, verdict=found))
    one.service = apply(one.service, paused)
    one.service = apply(one.service, Resume(at=one.now + 1, who="ann"))
    assert one.service.rollout.tolerated == ("request",)
    later = one.verdict(over=True)
    assert later.decision is Decide.PROMOTE
    (request,) = (f for f in later.findings if f.guardrail.name == "request")
    assert (request.status, request.action) == (Status.BREACH, None)
    assert request.sentence.endswith("; resumed all the same")


def test_a_tolerated_pause_is_no_leave_for_worse(case: Any) -> None:
    """What one key had shown, others show too: it rolls back."""
    one = case(guardrails=[{"name": "errors", "metric": "error_rate", "rule": "evidence"}])
    one.tell(stable=100)
    rollout = one.service.rollout.model_copy(update={"tolerated": ("errors",)})
    one.service = one.service.model_copy(update={"rollout": rollout})
    one.tell(candidates=20, failed=20)
    assert one.verdict().decision is Decide.ROLLBACK
