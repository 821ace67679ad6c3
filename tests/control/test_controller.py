"""The controller over a real state: leads, judges, acts, and hands over."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.controller import LEASE, Controller, named_name, published_name
from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails.evidence import Evidence
from coalmine.release import Slot
from coalmine.rollout import (
    Policy,
    Register,
    RollBack,
    Service,
    apply,
)
from coalmine.rollout.trial import Trial
from coalmine.routing import BACK, Arm, Phase
from coalmine.state import Batch, Beat, Entry, State, StateUnreachable

Make = Callable[..., Any]


def now(state: State) -> Service:
    return state.load()["chat"]


def failures(attempt: Make, many: int = 10) -> list[Attempt]:
    return [attempt(Outcome.ERROR, conversation=f"c{n}", caller=f"k{n % 3}") for n in range(many)]


# judging -----------------------------------------------------------------------------------------
def test_shipped_failures_roll_back(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make,
    counted: Counter[tuple[str, ...]],
) -> None:
    """In one turn, with the figures and the reason in the log."""
    put(phase=Phase.CANARY)
    ship(*failures(attempt))
    controller().turn(state)
    assert now(state).phase is Phase.ROLLING_BACK
    entry = state.history("chat")[-1]
    assert (entry.who, entry.action) == ("guardrail errors", "rollback")
    assert "error_rate 100 %" in entry.reason
    assert entry.figures["verdict"]["decision"] == "rollback"
    assert entry.after["weight"] == 0
    assert counted["coalmine_rollbacks_total", "chat", "guardrail"] == 1


def test_a_healthy_step_is_followed_by_the_next(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any
) -> None:
    """When it has soaked and has its conversations."""
    put(phase=Phase.CANARY)
    leader = controller()
    clock.now += 590
    ship(*(attempt(conversation=f"c{n}") for n in range(5)))
    leader.turn(state)
    assert now(state).weight == 10
    clock.now += 10
    leader.turn(state)
    assert now(state).weight == 100
    assert state.history("chat")[-1].action == "step"


def test_too_little_data_neither_promotes_nor_aborts(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any
) -> None:
    """Four failed conversations of five that are needed: it holds, and says so."""
    put(phase=Phase.CANARY)
    ship(*failures(attempt, 4))
    leader = controller()
    for _ in range(3):
        leader.turn(state)
        clock.now += 400
    assert now(state).phase is Phase.CANARY
    assert now(state).weight == 10


def test_what_it_saw_is_published(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make
) -> None:
    """For the status, for a start's baseline, and for the next controller."""
    put(phase=Phase.CANARY)
    ship(attempt(ttft=0.5), attempt(arm=Arm.STABLE))
    controller().turn(state)
    document = state.published(published_name("chat"))
    assert document is not None
    assert document["arms"]["candidate"]["ttft_p50"] == pytest.approx(0.5, rel=0.01)
    assert document["verdict"]["decision"] == "hold"
    assert document["baseline"]["attempts"] == 1.0
    assert document["step_conversations"] == 1


def test_a_malformed_attempt_is_dropped_and_counted(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make,
    counted: Counter[tuple[str, ...]],
) -> None:
    """A worker of another version must not blind the controller."""
    put(phase=Phase.CANARY)
    state.ship(Batch("other", "g", 1, ([1, 2, 3], None, {"a": 1})))
    ship(*failures(attempt))
    controller().turn(state)
    assert now(state).phase is Phase.ROLLING_BACK
    assert counted["coalmine_dropped_total", "malformed"] == 3


def test_evidence_that_cannot_take_an_attempt_in_blinds_nobody(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make,
    counted: Counter[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in it is counted; limits still act."""
    def fault(self: Evidence, attempt: Attempt) -> None:
        raise ZeroDivisionError

    put(phase=Phase.CANARY)
    ship(*failures(attempt))
    monkeypatch.setattr(Evidence, "add", fault)
    controller().turn(state)
    assert counted["coalmine_faults_total", "not_judged"] == 10
    assert now(state).phase is Phase.ROLLING_BACK


def test_a_workers_clock_that_runs_ahead_does_not_blind_it(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any
) -> None:
    """What ended tomorrow ended now, and is forgotten in its time."""
    put(phase=Phase.CANARY)
    ship(*(attempt(conversation=f"c{n}", at=clock.now + 86400) for n in range(9)))
    leader = controller()
    leader.turn(state)
    clock.now += 61
    ship(*failures(attempt, 6))
    leader.turn(state)
    assert now(state).phase is Phase.ROLLING_BACK


def test_one_services_fault_does_not_leave_the_others_unjudged(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any,
    counted: Counter[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are judged one by one."""
    service = put(phase=Phase.CANARY)
    broken = service.model_copy(update={"name": "a-broken-one"})
    assert state.swap(None, broken, Entry(0, "a-broken-one", "ann", "born", ""))
    ship(*failures(attempt))
    leader = controller()
    leader.turn(state)
    assert now(state).phase is Phase.ROLLING_BACK
    figures = leader._figures["a-broken-one"]
    monkeypatch.setattr(figures, "verdict", lambda *_: 1 / 0)
    state.beat(Beat("w1", "g1", {"chat": now(state).epoch}))
    leader.turn(state)
    assert now(state).phase is Phase.ROLLED_BACK
    assert counted["coalmine_faults_total", "controller"] == 1


def test_a_service_of_which_something_was_shipped_does_not_wait_for_the_others(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Publishing the figures of twenty others would take longer than the rollback."""
    service = put(phase=Phase.CANARY)
    other = service.model_copy(update={"name": "a-quiet-one"})
    assert state.swap(None, other, Entry(0, "a-quiet-one", "ann", "born", ""))
    ship(*failures(attempt))
    phases: dict[str, Phase] = {}
    real = state.publish

    def publish(name: str, document: dict[str, Any]) -> None:
        phases.setdefault(name, now(state).phase)
        real(name, document)

    monkeypatch.setattr(state, "publish", publish)
    controller().turn(state)
    assert phases[published_name("a-quiet-one")] is Phase.ROLLING_BACK


# draining ----------------------------------------------------------------------------------------
def test_a_rollback_is_over_when_all_workers_apply_it_and_nothing_runs(
    state: State, put: Make, controller: Make
) -> None:
    """A worker that is behind, or has requests open on the candidate, is waited for."""
    service = put(phase=Phase.ROLLING_BACK)
    leader = controller()
    state.beat(Beat("w1", "g1", {"chat": service.epoch}, {"chat/v2": 1, "chat/v1": 7}))
    state.beat(Beat("w2", "g1", {"chat": service.epoch - 1}))
    leader.turn(state)
    state.beat(Beat("w1", "g1", {"chat": service.epoch}, {"chat/v1": 7}))
    leader.turn(state)
    assert now(state).phase is Phase.ROLLING_BACK
    state.beat(Beat("w2", "g1", {"chat": service.epoch}))
    leader.turn(state)
    assert now(state).phase is Phase.ROLLED_BACK


def test_a_worker_that_died_behind_is_forgotten(
    state: State, put: Make, controller: Make, until: Make
) -> None:
    """After five seconds without a beat, not at the drain's end."""
    service = put(phase=Phase.ROLLING_BACK)
    state.beat(Beat("dead", "g1", {"chat": service.epoch - 1}, {"chat/v2": 3}))
    leader = controller()

    def over() -> bool:
        state.beat(Beat("w1", "g1", {"chat": service.epoch}))
        leader.turn(state)
        return now(state).phase is Phase.ROLLED_BACK

    assert not over()
    until(over, 8.0)
    rollout = now(state).rollout
    assert rollout is not None
    assert rollout.back is not None
    assert rollout.back.leftovers == {}


def test_a_drain_is_given_up_with_its_leftovers(
    state: State, put: Make, controller: Make, clock: Any
) -> None:
    """Named by worker."""
    service = put(phase=Phase.ROLLING_BACK)
    clock.now += 601
    state.beat(Beat("w1", "g1", {"chat": service.epoch}, {"chat/v2": 2}))
    controller().turn(state)
    rollout = now(state).rollout
    assert rollout is not None
    assert rollout.back is not None
    assert (now(state).phase, rollout.back.leftovers) == (Phase.ROLLED_BACK, {"w1": 2})


# who leads ---------------------------------------------------------------------------------------
def test_another_takes_over_within_two_seconds(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, opened: Make, until: Make
) -> None:
    """After the first stops renewing, as when its process was killed."""
    put(phase=Phase.CANARY)
    first = controller("w1")
    assert first._lead(state)
    first.turn(state)
    other = opened()
    heir = controller("w2", other)
    assert not heir._lead(other)
    heir.start()
    until(lambda: heir.leads, LEASE + 0.5)
    ship(*failures(attempt))
    until(lambda: now(state).phase in BACK, 2.0)


def test_a_controller_that_stops_gives_the_lease_back(
    state: State, put: Make, controller: Make, until: Make
) -> None:
    """So that a reload costs no time without one."""
    put(phase=Phase.IDLE)
    first = controller("w1")
    first.start()
    until(lambda: first.leads)
    first.stop()
    assert state.lease("w2", 1.0)


def test_two_controllers_never_act_twice(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, opened: Make,
    counted: Counter[tuple[str, ...]],
) -> None:
    """Even when both believe that they lead: the state takes one of the changes."""
    put(phase=Phase.CANARY)
    ship(*failures(attempt))
    stores = [state, *(opened() for _ in range(3))]
    rivals = [controller(f"w{n}", store) for n, store in enumerate(stores)]
    gate = threading.Barrier(len(rivals))

    def act(rival: Controller, store: State) -> None:
        rival._lead = lambda _: True  # type: ignore[method-assign]
        gate.wait()
        rival.turn(store)

    threads = [threading.Thread(target=act, args=pair) for pair in zip(rivals, stores, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.action for entry in state.history("chat")].count("rollback") == 1
    assert counted["coalmine_rollbacks_total", "chat", "guardrail"] == 1


def test_who_loses_the_change_keeps_quiet(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any,
    counted: Counter[tuple[str, ...]],
) -> None:
    """A person's rollback came between the reading and the writing."""
    service = put(phase=Phase.CANARY)
    ship(*failures(attempt))
    leader = controller()
    event = RollBack(at=clock.now, who="ann")
    assert state.swap(service, apply(service, event), Entry(0, "chat", "ann", "rollback", ""))
    assert leader._act(state, service, event, None) is service
    assert not counted


def test_a_long_take_over_keeps_the_lease(
    state: State, put: Make, controller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a quarter of an hour of a busy gateway takes longer than the lease lasts."""
    put(phase=Phase.CANARY)
    monkeypatch.setattr("coalmine.control.controller.READS", 2)
    for number in range(1, 8):
        state.ship(Batch("w9", "g9", number))
    leader = controller()
    renewals: list[int] = []

    def lead(_: State) -> bool:
        renewals.append(1)
        return len(renewals) < 3

    monkeypatch.setattr(leader, "_lead", lead)
    leader.turn(state)
    assert len(renewals) == 3  # and who has lost it over the reading does not act
    assert state.published(published_name("chat")) is None


def test_evidence_that_takes_long_to_read_keeps_the_lease(
    state: State, put: Make, opened: Make, controller: Make, until: Make, clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else two controllers succeed each other, and neither ever judges."""
    put(phase=Phase.CANARY)
    before = controller("w0")
    assert before._lead(state)
    before.turn(state)
    before.stop()
    real = Trial.restore

    def slow(trial: Trial, document: Any) -> None:
        time.sleep(LEASE + 0.5)
        real(trial, document)

    monkeypatch.setattr(Trial, "restore", slow)
    first, other = controller("w1"), opened()
    first.start()
    until(lambda: first.leads)
    rival = controller("w2", other)
    rival.start()
    clock.now += 1
    published = published_name("chat")
    until(lambda: (state.published(published) or {}).get("at") == clock.now, LEASE + 3.0)
    assert first.leads
    assert not rival.leads


class Flaky:
    """A state that is out of reach for a while; a real one cannot be told when."""

    def __init__(self, state: State) -> None:
        self.real, self.away = state, False

    def __getattr__(self, name: str) -> Any:
        if self.away and name != "close":
            raise StateUnreachable("away")
        return getattr(self.real, name)


def test_it_goes_on_after_the_state_was_away(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, until: Make
) -> None:
    """Its thread outlives any error."""
    put(phase=Phase.CANARY)
    flaky = Flaky(state)
    leader = controller("w1", flaky)
    leader.start()
    until(lambda: leader.leads)
    flaky.away = True
    ship(*failures(attempt))
    flaky.away = False
    until(lambda: now(state).phase in BACK)


def test_a_quick_round_acts_as_soon_as_something_is_shipped_or_changed(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any
) -> None:
    """Time alone is looked at by whole rounds, what happens by every one."""
    put(phase=Phase.CANARY)
    leader = controller("w1")
    leader.turn(state)
    before = now(state)
    clock.now += 10
    leader.turn(state, quick=True)
    assert now(state) == before
    ship(*failures(attempt))
    leader.turn(state, quick=True)
    assert now(state).phase in BACK


def test_it_outlives_a_fault_of_ours(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, until: Make,
    counted: Counter[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dead controller would look like one that finds nothing broken."""
    put(phase=Phase.CANARY)
    leader = controller("w1")
    faults, real = [ValueError("once"), KeyError("twice")], leader.turn

    def turn(on: State, **how: Any) -> None:
        if faults:
            raise faults.pop()
        real(on, **how)

    monkeypatch.setattr(leader, "turn", turn)
    leader.start()
    ship(*failures(attempt))
    until(lambda: now(state).phase in BACK)
    assert counted["coalmine_faults_total", "controller"] == 2


# a restart resumes the same phase ----------------------------------------------------------------
@pytest.mark.parametrize("phase", list(Phase))
def test_a_controller_killed_in_any_phase_is_succeeded_in_it(
    state: State, put: Make, controller: Make, opened: Make, phase: Phase, clock: Any
) -> None:
    """Its heir changes nothing that was not due, and the rollout keeps its number."""
    service = put(phase=phase)
    state.beat(Beat("w1", "g1", {"chat": service.epoch}, {"chat/v2": 1}))  # the drain goes on
    controller("w1").turn(state)
    before = now(state)
    clock.now += 1
    heir, other = controller("w2", other_state := opened()), other_state
    heir.turn(other)
    assert (now(state).phase, now(state).epoch) == (before.phase, before.epoch)
    assert now(state).rollout == before.rollout
    assert before.phase is phase


ENDS: list[tuple[Phase, float, Phase, str]] = [
    (Phase.BAKING, 86400.0, Phase.IDLE, "promoted"),
    (Phase.ROLLING_BACK, 601.0, Phase.ROLLED_BACK, "drained"),
]


@pytest.mark.parametrize(("phase", "later", "next_phase", "action"), ENDS)
def test_an_heir_ends_what_the_dead_one_began(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any,
    phase: Phase, later: float, next_phase: Phase, action: str,
) -> None:
    """The bake and the drain are counted from their beginning, not from the take-over."""
    put(phase=phase)
    clock.now += later - 5
    ship(attempt())
    controller("w1").turn(state)
    clock.now += 5
    controller("w2").turn(state)
    assert (now(state).phase, state.history("chat")[-1].action) == (next_phase, action)


def test_an_heir_knows_the_steps_conversations(
    state: State, put: Make, ship: Make, attempt: Make, controller: Make, clock: Any
) -> None:
    """Those of which the batches are gone by now, too."""
    put(phase=Phase.CANARY)
    ship(*(attempt(conversation=f"c{n}") for n in range(4)))
    controller("w1").turn(state)
    clock.now += 600
    heir = controller("w2")
    heir._cursor = "9" * 18  # as if nothing were kept
    heir.turn(state)
    assert heir._figures["chat"].step_conversations == 4
    ship_again = [attempt(conversation="c9"), attempt(conversation="c0")]
    heir._figures["chat"].add(ship_again[0])
    heir._figures["chat"].add(ship_again[1])
    assert heir._figures["chat"].step_conversations == 5


# releases that the policy names ------------------------------------------------------------------
def with_v2(policy: Policy, name: str) -> Policy:
    rules = policy.services["chat"]
    releases = {"v1": rules.releases["v1"], name: rules.releases["v2"]}
    return policy.model_copy(update={"services": {
        "chat": rules.model_copy(update={"releases": releases})}})


def test_a_release_that_the_policy_names_is_registered(
    state: State, put: Make, controller: Make, policy: Policy
) -> None:
    """In the slot of one that is not used any more."""
    put(phase=Phase.IDLE)
    leader = controller()
    leader.turn(state)
    leader._policy = lambda: with_v2(policy, "v3")
    leader.turn(state)
    assert set(now(state).releases) == {"v1", "v3"}
    assert state.history("chat")[-1].who == "policy"


def test_a_release_registered_at_run_time_is_not_undone_by_the_policy(
    state: State, put: Make, controller: Make, clock: Any
) -> None:
    """Nor by the next controller: it is newer than the policy's word."""
    service = put(phase=Phase.IDLE)
    leader = controller()
    leader.turn(state)
    event = Register(at=clock.now, who="ci", release="v3", slot=Slot.GREEN)
    assert state.swap(service, apply(service, event), Entry(0, "chat", "ci", "register", ""))
    leader.turn(state)
    controller("w2").turn(state)
    assert set(now(state).releases) == {"v1", "v3"}


def test_a_release_that_the_policy_names_again_is_registered_again(
    state: State, put: Make, controller: Make, policy: Policy
) -> None:
    """Going back in the file is a word too."""
    put(phase=Phase.IDLE)
    leader = controller()
    for name in ("v2", "v3", "v2"):
        leader._policy = lambda name=name: with_v2(policy, name)
        leader.turn(state)
        leader.turn(state)
        assert set(now(state).releases) == {"v1", name}
    assert state.published(named_name("chat")) == {"v1": ["blue", None], "v2": ["green", None]}


def test_a_slot_that_serves_is_not_taken_by_the_policy(
    state: State, put: Make, controller: Make, policy: Policy, clock: Any
) -> None:
    """It waits until the rollout is over."""
    service = put(phase=Phase.CANARY)
    leader = controller(policy=lambda: with_v2(policy, "v3"))
    leader.turn(state)
    assert set(now(state).releases) == {"v1", "v2"}
    assert now(state).epoch == service.epoch


