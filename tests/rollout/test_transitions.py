"""The transition table: the full product of phases and events, and each rule of the phases."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Severity
from coalmine.release import Slot
from coalmine.rollout import (
    TABLE,
    BakeOver,
    Drained,
    Event,
    Halt,
    Promote,
    Refused,
    Register,
    ReleaseRecord,
    Resume,
    RollBack,
    Service,
    ServicePolicy,
    Start,
    StepOver,
    apply,
    first_state,
    routing_plan,
)
from coalmine.routing import Arm, Moved, Phase, Pin, decide

Play = Callable[..., Service]
Make = Callable[..., Event]
Stand = Callable[[Phase], Service]

# What each event does in each phase: the phase that follows, or "-" for refused. The service has
# v1 in blue and v2 in green; the rollout has three steps and stands in the first one (or bakes);
# registered is v3 in green, where the candidate runs.
EXPECTED = """
            idle    canary        paused        baking        rolling_back  rolled_back
Start       canary  -             -             -             -             canary
StepOver    -       canary        -             -             -             -
Promote     -       canary        -             idle          -             -
Halt        -       paused        paused        paused        -             -
Resume      -       -             canary        -             -             -
RollBack    -       rolling_back  rolling_back  rolling_back  rolling_back  rolled_back
Drained     -       -             -             -             rolled_back   -
BakeOver    -       -             -             idle          -             -
Register    idle    -             -             -             -             rolled_back
"""

KINDS = {
    kind.__name__: kind
    for kind in (
        Start, StepOver, Promote, Halt, Resume, RollBack, Drained, BakeOver, Register,
    )
}  # fmt: skip
_HEAD, *_LINES = EXPECTED.strip("\n").splitlines()
PRODUCT = [
    (Phase(phase), KINDS[name], None if leads == "-" else Phase(leads))
    for name, *cells in (line.split() for line in _LINES)
    for phase, leads in zip(_HEAD.split(), cells, strict=True)
]


@pytest.mark.parametrize(
    ("phase", "kind", "leads_to"), PRODUCT, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_an_event_leads_where_the_table_says_or_is_refused(
    phase: Phase, kind: type[Event], leads_to: Phase | None, standing: Stand, event: Make
) -> None:
    service = standing(phase)
    if leads_to is None:
        with pytest.raises(Refused) as refused:
            apply(service, event(kind))
        assert refused.value.message
        assert "chat" in refused.value.message or "slot" in refused.value.message
        return
    result = apply(service, event(kind))
    assert result.phase is leads_to
    assert result.epoch == service.epoch + (0 if result is service else 1)


def test_the_product_above_is_full() -> None:
    assert len(PRODUCT) == len(Phase) * len(KINDS)
    assert {event for _, event in TABLE} == set(KINDS.values())


@pytest.mark.parametrize("phase", list(Phase))
def test_the_way_into_each_phase_is_known(phase: Phase, standing: Stand) -> None:
    assert standing(phase).phase is phase


@pytest.mark.parametrize("phase", list(Phase))
def test_a_service_survives_being_written_as_json(phase: Phase, standing: Stand) -> None:
    service = standing(phase)
    again = Service.model_validate_json(service.model_dump_json())
    assert again == service
    assert again.model_dump_json() == service.model_dump_json()


# --------------------------------------------------------------------------- start


def test_a_start_freezes_the_policy_and_keeps_the_baseline(after: Play, event: Make) -> None:
    service = after(event(Start, at=5.0, baseline={"error_rate": 0.01}))
    rollout = service.rollout
    assert rollout is not None
    assert rollout.id == "chat-1"
    assert rollout.policy_digest.startswith("sha256:")
    assert rollout.baseline == {"error_rate": 0.01}
    assert (service.weight, rollout.step, rollout.changes) == (1, 1, (1,))
    assert (service.stable, service.candidate, service.era) == ("v1", "v2", 1)
    assert service.reason == "started by ann"


def test_a_baseline_that_is_no_number_is_left_out_for_the_state_must_stay_readable(
    after: Play, event: Make
) -> None:
    figures = {"ttft_p95": float("nan"), "cost_per_request": float("inf"), "attempts": 10.0}
    service = after(event(Start, baseline=figures))
    assert service.rollout is not None
    assert service.rollout.baseline == {"attempts": 10.0}
    assert Service.model_validate_json(service.model_dump_json()) == service


@pytest.mark.parametrize(
    ("release", "said"),
    [("v9", "not known"), ("v1", "already the stable release"), ("", "not known")],
)
def test_a_start_of_what_cannot_be_a_candidate_is_refused(
    release: str, said: str, after: Play, event: Make
) -> None:
    with pytest.raises(Refused, match=said):
        after(event(Start, release=release))


def test_a_start_in_the_slot_of_stable_is_refused(standing: Stand, event: Make) -> None:
    service = standing(Phase.IDLE)
    blue = {name: ReleaseRecord(slot=Slot.BLUE) for name in service.releases}
    with pytest.raises(Refused, match="where stable v1 serves"):
        apply(service.model_copy(update={"releases": blue}), event(Start))


def test_a_start_after_a_rollback_is_a_rollout_and_an_era_of_its_own(
    standing: Stand, event: Make
) -> None:
    back = standing(Phase.ROLLED_BACK)
    again = apply(back, event(Start))
    assert again.rollout is not None
    assert (again.rollout.id, again.era, again.rollouts) == ("chat-2", back.era + 1, 2)
    assert again.rollout.back is None


# --------------------------------------------------------------------------- steps


def test_steps_follow_each_other_and_the_last_one_leads_into_the_bake(
    after: Play, event: Make
) -> None:
    weights = []
    service = after(event(Start))
    for _ in range(3):
        service = apply(service, event(Promote))
        weights.append((service.phase.value, service.weight))
    assert weights == [("canary", 25), ("canary", 100), ("baking", 98)]
    assert service.rollout is not None
    assert service.rollout.changes == (1, 25, 100, 98)


def test_why_a_rollout_went_on_is_never_just_where_it_went(after: Play, event: Make) -> None:
    """The log shows the step anyway: by whom it was promoted, or that it was due."""
    service, told = after(event(Start)), []
    for kind in (Promote, Promote, Promote, Promote):
        service = apply(service, event(kind))
        told.append((service.phase.value, service.reason))
    assert told == [(phase, "promoted by ann") for phase in ("canary", "canary", "baking", "idle")]
    service, told = after(event(Start), event(StepOver), event(Promote)), []
    assert after(event(Start), event(StepOver)).reason == "soak and minimum reached"
    for kind in (StepOver, BakeOver):
        service = apply(service, event(kind))
        told.append(service.reason)
    assert told == ["all steps are over", "v2 was promoted at the end of the bake"]
    named = apply(after(event(Start)), event(Promote, reason="looks good"))
    assert named.reason == "looks good"


def test_a_step_with_approval_waits_without_limit_and_promote_goes_on(
    after: Play, event: Make
) -> None:
    waiting = after(event(Start), event(StepOver), event(StepOver))
    assert waiting.rollout is not None
    assert (waiting.phase, waiting.weight, waiting.rollout.waiting) == (
        Phase.CANARY, 25, "approval",
    )  # fmt: skip
    assert apply(waiting, event(StepOver, at=1e9)) is waiting
    gone_on = apply(waiting, event(Promote))
    assert gone_on.rollout is not None
    assert (gone_on.weight, gone_on.rollout.waiting) == (100, None)


def test_approval_is_still_awaited_after_a_pause(after: Play, event: Make) -> None:
    service = after(event(Start), event(StepOver), event(StepOver), event(Halt), event(Resume))
    assert service.rollout is not None
    assert service.rollout.waiting == "approval"


def test_promote_full_goes_to_the_last_step_and_from_there_into_the_bake(
    after: Play, event: Make
) -> None:
    last = after(event(Start), event(Promote, full=True))
    assert last.rollout is not None
    assert (last.phase, last.rollout.step, last.weight) == (Phase.CANARY, 3, 100)
    assert last.rollout.changes == (1, 100)
    assert apply(last, event(Promote, full=True)).phase is Phase.BAKING


def test_a_weight_that_stays_is_no_weight_change(policy: ServicePolicy, event: Make) -> None:
    plan = policy.rollout.model_copy(update={"steps": policy.rollout.steps[:1] * 3})
    same = policy.model_copy(update={"rollout": plan})
    service = first_state("chat", same, 0.0)
    for one in (event(Start, policy=same), event(Promote), event(Promote)):
        service = apply(service, one)
    assert service.rollout is not None
    assert (service.rollout.step, service.rollout.changes) == (3, (1,))


def test_promote_is_refused_while_paused(standing: Stand, event: Make) -> None:
    with pytest.raises(Refused, match=r"chat is paused: promote is not possible \(resume it"):
        apply(standing(Phase.PAUSED), event(Promote))


# --------------------------------------------------------------------------- pause and resume


def test_the_soak_stands_still_in_a_pause_and_the_weight_is_kept(after: Play, event: Make) -> None:
    paused = after(event(Start, at=0.0), event(Halt, at=100.0))
    assert paused.weight == 1
    assert paused.rollout is not None
    assert paused.rollout.soak(5000.0) == 100.0
    resumed = apply(paused, event(Resume, at=5000.0))
    assert resumed.rollout is not None
    assert resumed.rollout.soak(5050.0) == 150.0


def test_a_clock_that_is_behind_takes_nothing_from_the_soak(after: Play, event: Make) -> None:
    paused = after(event(Start, at=100.0), event(Halt, at=90.0))
    assert paused.rollout is not None
    assert paused.rollout.soaked == 0.0


def test_a_pause_in_the_bake_extends_it_and_resume_goes_back_to_baking(
    standing: Stand, event: Make
) -> None:
    baking = standing(Phase.BAKING)
    paused = apply(baking, event(Halt, at=3601.0))
    assert paused.weight == 98
    resumed = apply(paused, event(Resume, at=10_000.0))
    assert resumed.phase is Phase.BAKING
    assert resumed.rollout is not None
    assert resumed.rollout.soak(13_600.0) == 7200.0
    assert resumed.rollout.pause is None


@pytest.mark.parametrize(
    ("by", "kept"),
    [("guardrail", 1200.0), ("alert", 1200.0), ("person", None), ("controller", None)],
)
def test_only_a_pause_of_a_guardrail_or_an_alert_has_a_timebox(
    by: str, kept: float | None, after: Play, event: Make
) -> None:
    paused = after(event(Start), event(Halt, by=by, timebox=1200.0))
    assert paused.rollout is not None
    assert paused.rollout.pause is not None
    assert paused.rollout.pause.timebox == kept


def test_a_persons_pause_takes_the_timebox_of_a_guardrails_away(after: Play, event: Make) -> None:
    held = after(
        event(Start),
        event(Halt, at=10.0, by="guardrail", timebox=1200.0, reason="too slow"),
        event(Halt, at=20.0),
    )
    assert held.rollout is not None
    assert held.rollout.pause is not None
    assert (held.rollout.pause.by, held.rollout.pause.timebox) == ("person", None)
    assert held.reason == "held by ann: too slow"
    assert held.rollout.soaked == 9.0


@pytest.mark.parametrize("by", ["guardrail", "alert", "controller", "person"])
def test_another_pause_of_what_a_person_holds_changes_nothing(
    by: str, standing: Stand, event: Make
) -> None:
    paused = standing(Phase.PAUSED)
    assert apply(paused, event(Halt, by=by, timebox=60.0)) is paused


# --------------------------------------------------------------------------- rollback


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.PAUSED, Phase.BAKING])
def test_a_rollback_takes_the_weight_at_once_and_keeps_stable(
    phase: Phase, standing: Stand, event: Make
) -> None:
    before = standing(phase)
    back = apply(before, event(RollBack))
    assert (back.weight, back.stable, back.candidate) == (0, "v1", "v2")
    assert back.era == before.era
    assert back.rollout is not None
    assert (back.rollout.pause, back.rollout.waiting) == (None, None)


def test_a_rollback_ends_the_wait_for_an_approval(after: Play, event: Make) -> None:
    back = after(event(Start), event(StepOver), event(StepOver), event(RollBack))
    assert back.rollout is not None
    assert back.rollout.waiting is None


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.ROLLED_BACK])
def test_a_second_rollback_returns_the_same_object(
    phase: Phase, standing: Stand, event: Make
) -> None:
    service = standing(phase)
    assert apply(service, event(RollBack, at=99.0)) is service
    assert apply(service, event(RollBack, to="v1")) is service


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.PAUSED, Phase.BAKING, Phase.ROLLING_BACK])
def test_a_rollback_of_a_rollout_goes_to_stable_and_nowhere_else(
    phase: Phase, standing: Stand, event: Make
) -> None:
    with pytest.raises(Refused):
        apply(standing(phase), event(RollBack, to="v2"))


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, True),
        ({"trigger": "guardrail", "severity": Severity.MILD}, True),
        ({"trigger": "guardrail", "severity": Severity.MAJOR}, False),
        ({"trigger": "guardrail", "severity": Severity.CRITICAL}, False),
        ({"trigger": "timebox"}, False),
        ({"trigger": "alert"}, False),
        ({"trigger": "circuit_breaker"}, False),
    ],
    ids=str,
)
def test_conversations_may_finish_only_after_a_mild_or_manual_rollback(
    fields: dict[str, Any], finish: bool, policy: ServicePolicy, after: Play, event: Make
) -> None:
    sessions = policy.sessions.model_copy(update={"on_rollback": "finish"})
    lenient = policy.model_copy(update={"sessions": sessions})
    back = after(event(Start, policy=lenient), event(RollBack, **fields)).rollout
    assert back is not None
    assert back.back is not None
    assert back.back.finish is finish
    strict = after(event(Start), event(RollBack, **fields)).rollout
    assert strict is not None
    assert strict.back is not None
    assert strict.back.finish is False


def test_the_end_of_the_drain_names_what_was_left(standing: Stand, event: Make) -> None:
    back = apply(standing(Phase.ROLLING_BACK), event(Drained, at=7.0, leftovers={"w1": 2}))
    assert back.rollout is not None
    assert back.rollout.back is not None
    assert (back.rollout.back.drained, back.rollout.back.leftovers) == (7.0, {"w1": 2})


def test_rolled_back_is_final_for_that_rollout(standing: Stand, event: Make) -> None:
    service = standing(Phase.ROLLED_BACK)
    for kind in KINDS.values():
        if kind in (Start, Register):
            continue
        try:
            result = apply(service, event(kind))
        except Refused:
            continue
        assert result is service


# --------------------------------------------------------------------------- promotion and idle


@pytest.mark.parametrize("kind", [Promote, BakeOver])
def test_the_end_of_the_bake_makes_the_candidate_stable(
    kind: type[Event], standing: Stand, event: Make
) -> None:
    baking = standing(Phase.BAKING)
    done = apply(baking, event(kind))
    assert (done.phase, done.stable, done.previous, done.candidate, done.rollout) == (
        Phase.IDLE, "v2", "v1", None, None,
    )  # fmt: skip
    assert (done.era, done.weight) == (baking.era + 1, 0)


@pytest.fixture
def promoted(standing: Stand, event: Make) -> Service:
    """Return the service idle on v2, with v1 still in its slot."""
    return apply(standing(Phase.BAKING), event(BakeOver))


@pytest.mark.parametrize("to", [None, "v1"])
def test_an_idle_rollback_goes_to_the_previous_release(
    to: str | None, promoted: Service, event: Make
) -> None:
    back = apply(promoted, event(RollBack, to=to))
    assert (back.phase, back.stable, back.candidate) == (Phase.IDLE, "v1", None)
    assert back.era == promoted.era + 1


@pytest.mark.parametrize("to", [None, "v1"])
def test_a_repeated_idle_rollback_never_returns_to_the_release_that_it_left(
    to: str | None, promoted: Service, event: Make
) -> None:
    back = apply(promoted, event(RollBack, to=to))
    assert apply(back, event(RollBack, to=to)) is back
    assert apply(back, event(RollBack)) is back


def test_an_idle_rollback_to_a_named_release_can_be_rolled_back_itself(
    promoted: Service, after: Play, event: Make
) -> None:
    forth = after(event(RollBack), event(RollBack, to="v2"), service=promoted)
    assert forth.stable == "v2"
    assert apply(forth, event(RollBack)).stable == "v1"


@pytest.mark.parametrize(("pin", "release"), [
    (Pin(2, 0, Arm.STABLE), "v2"), (Pin(1, 1, Arm.CANDIDATE), "v2"),
])
def test_who_is_on_a_release_that_is_left_in_idle_is_moved_by_that_rollback(
    promoted: Service, event: Make, pin: Pin, release: str
) -> None:
    """It is counted as one, and not as a promotion of the release that comes back."""
    decision = decide(routing_plan(apply(promoted, event(RollBack)), None), pin, new=False)
    assert (decision.moved_from, decision.moved) == (release, Moved.ROLLBACK)
    before = decide(routing_plan(promoted, None), Pin(0, 0, Arm.STABLE), new=False)
    assert (before.moved_from, before.moved) == ("v1", Moved.PROMOTED)


def test_an_idle_rollback_without_a_previous_release_is_refused(
    standing: Stand, event: Make
) -> None:
    with pytest.raises(Refused, match="no previous release"):
        apply(standing(Phase.IDLE), event(RollBack))


def test_an_idle_rollback_to_what_is_not_known_names_what_is(
    promoted: Service, event: Make
) -> None:
    with pytest.raises(Refused, match="'v0' of chat is not known") as refused:
        apply(promoted, event(RollBack, to="v0"))
    assert refused.value.hint == "known are v1, v2"


def test_an_idle_rollback_to_a_slot_that_another_release_took_is_refused(
    promoted: Service, after: Play, event: Make
) -> None:
    taken = after(event(Register, release="v3", slot=Slot.BLUE), service=promoted)
    assert taken.previous is None
    with pytest.raises(Refused, match="no previous release"):
        apply(taken, event(RollBack))
    with pytest.raises(Refused, match="not known"):
        apply(taken, event(RollBack, to="v1"))


def test_after_a_promotion_the_next_candidate_takes_the_other_slot(
    promoted: Service, after: Play, event: Make
) -> None:
    service = after(
        event(Register, release="v3", slot=Slot.BLUE),
        event(Start, release="v3"),
        service=promoted,
    )
    assert (service.stable, service.candidate) == ("v2", "v3")
    assert service.releases["v3"].slot is Slot.BLUE


# --------------------------------------------------------------------------- register


def test_the_same_registration_again_changes_nothing(standing: Stand, event: Make) -> None:
    for phase in (Phase.IDLE, Phase.CANARY, Phase.PAUSED, Phase.BAKING, Phase.ROLLED_BACK):
        service = standing(phase)
        same = event(Register, release="v2", slot=Slot.GREEN)
        assert apply(service, same) is service


@pytest.mark.parametrize(
    ("phase", "release", "slot", "said"),
    [
        (Phase.IDLE, "v3", Slot.BLUE, "serves v1"),
        (Phase.IDLE, "v1", Slot.GREEN, "immutable"),
        (Phase.CANARY, "v3", Slot.GREEN, "serves v2"),
        (Phase.CANARY, "v3", Slot.BLUE, "serves v1"),
        (Phase.PAUSED, "v3", Slot.GREEN, "serves v2"),
        (Phase.BAKING, "v1", Slot.GREEN, "immutable"),
        (Phase.ROLLED_BACK, "v3", Slot.BLUE, "serves v1"),
    ],
)
def test_what_serves_cannot_be_replaced(
    phase: Phase, release: str, slot: Slot, said: str, standing: Stand, event: Make
) -> None:
    with pytest.raises(Refused, match=said):
        apply(standing(phase), event(Register, release=release, slot=slot))


def test_a_release_that_serves_keeps_its_digest(standing: Stand, event: Make) -> None:
    new = event(Register, release="v2", slot=Slot.GREEN, digest="sha256:" + "a" * 64)
    assert apply(standing(Phase.IDLE), new).releases["v2"].digest == "sha256:" + "a" * 64
    with pytest.raises(Refused, match="immutable"):
        apply(standing(Phase.CANARY), new)


def test_a_registration_drops_what_ran_in_the_slot(standing: Stand, event: Make) -> None:
    for phase in (Phase.IDLE, Phase.ROLLED_BACK):
        service = apply(standing(phase), event(Register))
        assert set(service.releases) == {"v1", "v3"}


# --------------------------------------------------------------------------- routing


def test_the_routing_plan_says_what_the_state_says(standing: Stand, policy: ServicePolicy) -> None:
    for phase in Phase:
        service = standing(phase)
        plan = routing_plan(service, policy)
        assert (plan.phase, plan.epoch, plan.stable) == (phase, service.epoch, "v1")
        assert plan.weight == round(service.weight * 10_000)
        assert plan.eras[plan.era].release(Arm.STABLE) == "v1"
        assert plan.change == len(plan.chances)
        assert plan.slots == {"v1": Slot.BLUE, "v2": Slot.GREEN}
        if phase in (Phase.CANARY, Phase.PAUSED, Phase.BAKING):
            assert plan.chances[plan.change - 1] == pytest.approx(plan.weight / 1e6)
