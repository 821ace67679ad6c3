"""Whatever happens to a service in whatever order, some things hold."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coalmine.guardrails import Severity
from coalmine.release import Slot
from coalmine.rollout import (
    BakeOver,
    Drained,
    Event,
    Halt,
    Promote,
    Refused,
    Register,
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
from coalmine.routing import ROLLOUT_RUNS, Phase
from coalmine.routing.pins import CHANGES_KEPT, ERAS_KEPT

RELEASES = st.sampled_from(["v1", "v2", "v3", "v4"])


def policy(*steps: dict[str, Any], holdback: float = 2.0, **sessions: Any) -> ServicePolicy:
    return ServicePolicy.model_validate(
        {
            "releases": {"v1": {"slot": Slot.BLUE}, "v2": {"slot": Slot.GREEN}},
            "stable": "v1",
            "rollout": {"steps": list(steps), "holdback": holdback},
            "sessions": sessions,
        }
    )


POLICIES = st.sampled_from(
    [
        policy({"weight": 100}),
        policy({"weight": 0.1}, {"weight": 50, "approve": True}, {"weight": 50}, holdback=0),
        policy({"weight": 1}, {"weight": 100}, on_rollback="finish"),
        policy(*({"weight": weight} for weight in range(1, 41))),
    ]
)


class AnyOrder(RuleBasedStateMachine):
    """Sends events in any order, on a clock that may jump back."""

    def __init__(self) -> None:
        super().__init__()
        self.service: Service = first_state("chat", policy({"weight": 1}), 0.0)
        self.before = self.service
        self.now = 0.0

    def send(self, kind: type[Event], **fields: Any) -> None:
        self.before = self.service
        try:
            self.service = apply(self.service, kind(at=self.now, who="ann", **fields))
        except Refused:
            self.service = self.before

    @rule(seconds=st.floats(-60, 7200))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(release=RELEASES, frozen=POLICIES)
    def start(self, release: str, frozen: ServicePolicy) -> None:
        self.send(Start, release=release, policy=frozen, baseline={"x": float("nan")})

    @rule(kind=st.sampled_from([StepOver, Resume, Drained, BakeOver]))
    def observe(self, kind: type[Event]) -> None:
        self.send(kind)

    @rule(full=st.booleans())
    def promote(self, full: bool) -> None:
        self.send(Promote, full=full)

    @rule(
        by=st.sampled_from(["person", "guardrail", "alert", "controller"]),
        timebox=st.none() | st.floats(0, 1e5),
    )
    def pause(self, by: str, timebox: float | None) -> None:
        self.send(Halt, by=by, timebox=timebox)

    @rule(to=st.none() | RELEASES, severity=st.none() | st.sampled_from(Severity))
    def roll_back(self, to: str | None, severity: Severity | None) -> None:
        self.send(RollBack, to=to, severity=severity)

    @rule(release=RELEASES, slot=st.sampled_from(Slot))
    def register(self, release: str, slot: Slot) -> None:
        self.send(Register, release=release, slot=slot)

    @invariant()
    def the_epoch_grows_by_one_with_each_change(self) -> None:
        changed = self.service is not self.before
        assert self.service.epoch == self.before.epoch + changed
        assert changed or self.service == self.before

    @invariant()
    def the_weight_is_a_share_and_nothing_unless_a_rollout_runs(self) -> None:
        assert 0 <= self.service.weight <= 100
        assert (self.service.weight > 0) == (self.service.phase in ROLLOUT_RUNS)

    @invariant()
    def eras_follow_each_other_and_the_newest_names_the_arms(self) -> None:
        numbers = [era.number for era in self.service.eras]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) < ERAS_KEPT
        newest = self.service.eras[-1]
        assert (newest.stable, newest.candidate) == (self.service.stable, self.service.candidate)

    @invariant()
    def stable_is_known_and_never_in_the_candidates_slot(self) -> None:
        service = self.service
        stable = service.releases[service.stable]
        if service.phase in ROLLOUT_RUNS or service.phase is Phase.ROLLING_BACK:
            assert service.candidate is not None
            assert service.releases[service.candidate].slot is stable.slot.other
        slots = [record.slot for record in service.releases.values()]
        assert len(set(slots)) == len(slots)

    @invariant()
    def the_parts_fit_the_phase(self) -> None:
        service = self.service
        assert (service.candidate is None) == (service.phase is Phase.IDLE)
        assert (service.rollout is None) == (service.phase is Phase.IDLE)
        if service.rollout is not None:
            assert (service.rollout.pause is not None) == (service.phase is Phase.PAUSED)
            assert service.rollout.soaked >= 0
            assert len(service.rollout.changes) < CHANGES_KEPT
            back = service.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
            assert (service.rollout.back is not None) == back

    @invariant()
    def a_rolled_back_rollout_never_comes_to_life_again(self) -> None:
        before, after = self.before.rollout, self.service.rollout
        if before is not None and before.back is not None and after is not None:
            assert after.id != before.id or after.back is not None

    @invariant()
    def it_can_be_written_and_read_and_routed(self) -> None:
        assert Service.model_validate_json(self.service.model_dump_json()) == self.service
        assert routing_plan(self.service, None).era == self.service.era


TestAnyOrder = pytest.mark.timeout(60)(AnyOrder.TestCase)
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
