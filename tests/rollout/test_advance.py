"""What a service does by itself, phase by phase."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Action, Decide, Guardrail, Severity, Status, Verdict
from coalmine.guardrails.judge import Finding
from coalmine.rollout import (
    BakeOver,
    Drained,
    Event,
    Halt,
    Promote,
    Resume,
    RollBack,
    Service,
    ServicePolicy,
    Start,
    StepOver,
    apply,
)
from coalmine.rollout.advance import Observed, next_event, step_over
from coalmine.routing import Phase

Make = Callable[..., Any]


def verdict(decision: Decide, lone: str | None = None, **fields: Any) -> Verdict:
    rule = Guardrail.model_validate(
        {"name": "errors", "metric": "error_rate", "max": 0.1, **fields}
    )
    action = {Decide.ROLLBACK: Action.ROLLBACK, Decide.PAUSE: Action.PAUSE}.get(decision)
    worst = Finding(rule, Status.BREACH, "too many errors", action=action, lone_caller=lone)
    return Verdict(decision, "too many errors", (worst,), worst if action else None)


@pytest.fixture
def rolled(after: Make, event: Make, policy: ServicePolicy) -> Make:
    """A service of a policy with changes, after a start at 1000 and further events."""

    def make(*events: Event, step: dict[str, Any] | None = None, **changes: Any) -> Service:
        steps = list(policy.rollout.steps)
        steps[0] = steps[0].model_copy(update=step or {})
        plan = policy.rollout.model_copy(update={"steps": tuple(steps)})
        rules = policy.model_copy(update={"rollout": plan, **changes})
        return after(event(Start, at=1000.0, policy=rules), *events)

    return make


def due(service: Service, now: float, **seen: Any) -> Event | None:
    return next_event(service, Observed(now, **{"step_conversations": 1, **seen}))


# no rollout --------------------------------------------------------------------------------------
@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.ROLLED_BACK])
def test_nothing_is_due_without_a_rollout(standing: Make, phase: Phase) -> None:
    """Whatever the verdict says."""
    assert due(standing(phase), 1e9, verdict=verdict(Decide.ROLLBACK)) is None


# canary ------------------------------------------------------------------------------------------
def test_a_step_ends_when_it_has_soaked(rolled: Make) -> None:
    """Not a moment before."""
    service = rolled()
    assert due(service, 1599.9) is None
    assert isinstance(due(service, 1600.0), StepOver)


@pytest.mark.parametrize(("now", "left"), [
    (1012.0, "9m 48s"), (1400.0, "3m 20s"), (1540.0, "1m"), (1599.9, "1s"),
])
def test_what_a_step_still_has_to_soak_is_said_as_people_count(
    rolled: Make, now: float, left: str
) -> None:
    """Not in thousands of seconds."""
    assert step_over(rolled(), now, 0) == (False, f"step 1 soaks for {left} more")


def test_a_step_needs_its_conversations(rolled: Make) -> None:
    """However long it has soaked; and it says how many are missing."""
    service = rolled(step={"min_conversations": 100})
    assert due(service, 2000.0, step_conversations=99, last_candidate=2000.0) is None
    assert step_over(service, 2000.0, 99)[1] == "step 1 has 99 of 100 candidate conversations"
    assert isinstance(due(service, 2000.0, step_conversations=100), StepOver)


def test_a_step_that_nobody_used_does_not_end(rolled: Make) -> None:
    """Or a rollout without traffic would walk to its end and be promoted unseen."""
    assert due(rolled(), 2000.0, step_conversations=0) is None


def test_a_last_step_without_a_time_goes_straight_on_to_the_bake(
    rolled: Make, event: Make
) -> None:
    """With its first conversation; as "How a step ends" in docs/policy.md says."""
    last = rolled(event(Promote, full=True, at=1001.0))
    assert last.rollout is not None
    assert (last.weight, last.rollout.current_step.soak) == (100, 0)
    assert due(last, 1001.0, step_conversations=0) is None
    found = due(last, 1001.0)
    assert isinstance(found, StepOver)
    assert apply(last, found).phase is Phase.BAKING


@pytest.mark.parametrize("step", [
    {"soak": 3600.0}, {"min_conversations": 100}, {"approve": True},
])
def test_promote_passes_over_what_a_step_waits_for(
    rolled: Make, event: Make, step: dict[str, Any]
) -> None:
    """And not over guardrails, which judge on."""
    after = apply(rolled(step=step), event(Promote, at=1001.0))
    assert after.rollout is not None
    assert (after.rollout.step, after.phase) == (2, Phase.CANARY)
    broken = due(after, 1002.0, verdict=verdict(Decide.ROLLBACK))
    assert isinstance(broken, RollBack)


def test_a_step_does_not_end_while_the_verdict_holds(rolled: Make) -> None:
    """Nothing could be judged: that holds."""
    assert due(rolled(), 1600.0, verdict=verdict(Decide.HOLD)) is None
    assert isinstance(due(rolled(), 1600.0, verdict=verdict(Decide.PROMOTE)), StepOver)


def test_a_step_that_required_evidence_says_that_it_is_proven(rolled: Make) -> None:
    """In the log; that it has soaked would be half of it."""
    service = rolled(step={"require": "evidence"})
    found = due(service, 1600.0, verdict=verdict(Decide.PROMOTE))
    assert isinstance(found, StepOver)
    assert apply(service, found).reason == "soak and minimum reached, and proven no worse"


def test_a_step_that_is_to_be_approved_waits_for_a_person(rolled: Make, event: Make) -> None:
    """For as long as it takes, also without traffic; guardrails still act."""
    service = rolled(event(Promote, at=1001.0), event(StepOver, at=4700.0))
    assert service.rollout is not None
    assert service.rollout.waiting == "approval"
    assert due(service, 1e7) is None
    assert step_over(service, 1e7, 9)[1] == "step 2 awaits approval"
    assert isinstance(due(service, 1e7, verdict=verdict(Decide.ROLLBACK)), RollBack)


def test_a_broken_guardrail_rolls_back_with_its_name_and_reason(rolled: Make) -> None:
    """Before anything else that is due."""
    found = due(rolled(), 1e7, verdict=verdict(Decide.ROLLBACK, severity="critical"))
    assert isinstance(found, RollBack)
    assert (found.who, found.reason, found.trigger, found.severity, found.at) == (
        "guardrail errors", "too many errors", "guardrail", Severity.CRITICAL, 1e7)


def test_a_broken_guardrail_pauses_with_its_timebox(rolled: Make) -> None:
    """Which a person's pause has not."""
    found = due(rolled(), 1100.0, verdict=verdict(Decide.PAUSE, timebox="7m"))
    assert isinstance(found, Halt)
    assert (found.who, found.by, found.timebox) == ("guardrail errors", "guardrail", 420.0)


def test_a_lone_callers_pause_has_no_timebox(rolled: Make) -> None:
    """One caller cannot decide, not even by waiting."""
    found = due(rolled(), 1100.0, verdict=verdict(Decide.PAUSE, lone="team-x"))
    assert isinstance(found, Halt)
    assert found.timebox is None
    paused = apply(rolled(), found)
    assert due(paused, 1e9, verdict=verdict(Decide.PAUSE, lone="team-x")) is None


def test_without_attempts_it_gives_up_and_tells(rolled: Make) -> None:
    """A pause without timebox: nothing is wrong with the release."""
    service = rolled(give_up=3600.0)
    assert due(service, 4600.0, step_conversations=0) is None
    found = due(service, 4600.1, step_conversations=0)
    assert isinstance(found, Halt)
    assert (found.by, found.timebox) == ("controller", None)
    assert "no attempt on the candidate for 1h" in found.reason
    assert due(apply(service, found), 1e9) is None


def test_an_attempt_or_a_resume_starts_the_silence_anew(rolled: Make, event: Make) -> None:
    """It is counted from the last one."""
    service = rolled(give_up=3600.0)
    assert due(service, 5000.0, step_conversations=0, last_candidate=2000.0) is None
    resumed = rolled(event(Halt, at=4000.0), event(Resume, at=5000.0), give_up=3600.0)
    assert due(resumed, 8000.0, step_conversations=0, last_candidate=1500.0) is None


def test_the_silence_is_counted_from_a_start_at_time_zero(
    after: Make, event: Make, policy: ServicePolicy
) -> None:
    """0 is a time like any other."""
    service = after(event(Start, at=0.0, policy=policy))
    assert due(service, 100.0, step_conversations=0) is None


# paused ------------------------------------------------------------------------------------------
def test_a_guardrails_pause_rolls_back_unanswered(rolled: Make, event: Make) -> None:
    """After its timebox, not before."""
    halt = event(Halt, at=1100.0, by="guardrail", timebox=1200.0, reason="slow")
    assert due(rolled(halt), 2300.0) is None
    found = due(rolled(halt), 2300.1)
    assert isinstance(found, RollBack)
    assert found.trigger == "timebox"
    assert "within 20m: slow" in found.reason


def test_a_persons_pause_waits_for_ever(rolled: Make, event: Make) -> None:
    """And the soak stands still."""
    assert due(rolled(event(Halt, at=1100.0)), 1e9) is None


def test_guardrails_still_roll_back_in_a_pause_but_do_not_pause_again(
    rolled: Make, event: Make
) -> None:
    """The weight is kept, so the candidate is still judged."""
    paused = rolled(event(Halt, at=1100.0))
    assert isinstance(due(paused, 1200.0, verdict=verdict(Decide.ROLLBACK)), RollBack)
    assert due(paused, 1200.0, verdict=verdict(Decide.PAUSE)) is None


@pytest.mark.parametrize("before", [
    {"by": "controller", "timebox": None}, {"by": "guardrail", "timebox": None, "guardrail": "x"}])
def test_a_pause_that_nobody_asked_for_gets_a_breachs_timebox(
    rolled: Make, event: Make, before: dict[str, Any]
) -> None:
    """Nobody called, or only one; then many do, and a guardrail breaks that must not stand."""
    paused = rolled(event(Halt, at=1100.0, **before))
    assert due(paused, 1200.0, verdict=verdict(Decide.PAUSE, lone="k1")) is None
    again = due(paused, 1200.0, verdict=verdict(Decide.PAUSE))
    assert isinstance(again, Halt)
    boxed = apply(paused, again)
    assert due(boxed, 1300.0, verdict=verdict(Decide.PAUSE)) is None
    assert isinstance(due(boxed, 1201.0 + 1200.0), RollBack)


def test_a_pause_extends_the_step(rolled: Make, event: Make) -> None:
    """What was soaked before it counts."""
    service = rolled(event(Halt, at=1500.0), event(Resume, at=9000.0))
    assert due(service, 9099.0) is None
    assert isinstance(due(service, 9100.0), StepOver)


# baking ------------------------------------------------------------------------------------------
@pytest.fixture
def baking(rolled: Make, event: Make) -> Make:
    """A bake that began at 2000, and further events."""
    return lambda *more: rolled(*(event(Promote, at=2000.0) for _ in range(3)), *more)


def test_the_bake_ends_by_itself(baking: Make) -> None:
    """After as long as the policy says."""
    assert due(baking(), 2000.0 + 86399.0, last_candidate=88000.0) is None
    assert isinstance(due(baking(), 2000.0 + 86400.0, last_candidate=88000.0), BakeOver)


def test_a_candidate_that_nobody_uses_any_more_is_not_made_stable_by_itself(baking: Make) -> None:
    """Its deployments may be gone; a quiet night alone pauses no bake."""
    assert due(baking(), 2000.0 + 80000.0, last_candidate=3000.0) is None
    found = due(baking(), 2000.0 + 86400.0, last_candidate=3000.0)
    assert isinstance(found, Halt)
    assert found.reason == "no attempt on the candidate for 23h 43m"


def test_a_pause_extends_the_bake(baking: Make, event: Make) -> None:
    """By its length."""
    service = baking(event(Halt, at=3000.0), event(Resume, at=13000.0))
    assert service.phase is Phase.BAKING
    assert due(service, 2000.0 + 86400.0, last_candidate=98000.0) is None
    assert isinstance(due(service, 12000.0 + 86400.0, last_candidate=98000.0), BakeOver)


def test_guardrails_act_in_the_bake(baking: Make) -> None:
    """Also when it is over at the same moment."""
    assert isinstance(due(baking(), 1e7, verdict=verdict(Decide.ROLLBACK)), RollBack)
    assert isinstance(due(baking(), 1e7, verdict=verdict(Decide.PAUSE)), Halt)


# rolling back ------------------------------------------------------------------------------------
@pytest.fixture
def leaving(rolled: Make, event: Make) -> Service:
    """A service that has been on its way back since 2000."""
    found: Service = rolled(event(RollBack, at=2000.0))
    return found


def test_it_is_rolled_back_when_nothing_is_in_flight(leaving: Service) -> None:
    """And every worker that lives applies it."""
    assert due(leaving, 2001.0, in_flight={"w1": 2}) is None
    assert due(leaving, 2001.0, behind=("w2",)) is None
    found = due(leaving, 2001.0)
    assert isinstance(found, Drained)
    assert found.leftovers == {}
    assert apply(leaving, found).phase is Phase.ROLLED_BACK


def test_a_drain_is_given_up_and_names_what_is_left(leaving: Service) -> None:
    """A stream of an hour must not hold up the next rollout."""
    seen: dict[str, Any] = {"in_flight": {"w1": 2}, "behind": ("w2",)}
    assert due(leaving, 2600.0, **seen) is None
    found = due(leaving, 2600.1, **seen)
    assert isinstance(found, Drained)
    assert found.leftovers == {"w1": 2}
    assert "given up" in found.reason


def test_on_the_way_back_no_verdict_matters(leaving: Service) -> None:
    """It is final."""
    assert due(leaving, 2001.0, in_flight={"w1": 1}, verdict=verdict(Decide.ROLLBACK)) is None
