"""Evidence over take-overs: what was shipped counts once, whoever judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.control.controller import PUBLISH, Controller
from coalmine.control.evidence_keeper import EVERY, kept_name
from coalmine.guardrails import Attempt, Outcome
from coalmine.rollout import Policy
from coalmine.routing import Arm, Phase
from coalmine.state import State, StateUnreachable

Make = Callable[..., Any]


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """Judged by evidence alone, which asks for more than these tests give."""
    service = policy.model_dump()["services"]["chat"]
    return Policy.model_validate({"services": {"chat": {**service, "alpha": 1e-9, "guardrails": [
        {"name": "errors", "metric": "error_rate", "rule": "evidence"}]}}})


@pytest.fixture
def conversations(attempt: Callable[..., Attempt]) -> Callable[..., list[Attempt]]:
    """Conversations of one turn: ten of stable that go well beside one of the candidate that
    fails."""

    def make(name: str, count: int = 1) -> list[Attempt]:
        made = []
        for number in range(count):
            made += [attempt(arm=Arm.STABLE, conversation=f"{name}{number}s{n}", first_turn=True)
                     for n in range(10)]
            made.append(attempt(Outcome.ERROR, conversation=f"{name}{number}", first_turn=True))
        return made

    return make


def wealth(controller: Controller) -> float:
    trial = controller._figures["chat"].trial
    assert trial is not None
    return next(iter(trial.evidence.tests.values())).wealth


def lead(controller: Controller, state: State) -> Controller:
    """Let it take the lease and read all there is."""
    assert controller._lead(state)
    controller.turn(state)
    return controller


def succeed(controller: Controller, heir: Controller, state: State) -> Controller:
    """The controller dies without a word, and another takes over."""
    state.unlease(controller._worker)
    return lead(heir, state)


@pytest.fixture
def forgotten(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make, clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Controller:
    """A controller that has kept its evidence, of which the state has no batches any more."""
    put(phase=Phase.CANARY)
    ship(*conversations("a", 3))
    first = lead(controller("w1"), state)
    clock.now += EVERY + 1
    first.turn(state)
    monkeypatch.setattr(state, "batches", lambda cursor, limit=500: (cursor, []))
    return first


def test_an_heir_goes_on_with_the_evidence(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make, clock: Any
) -> None:
    """Also with what the state has kept of batches that the dead one had counted, once."""
    put(phase=Phase.CANARY)
    ship(*conversations("a", 2))
    first = lead(controller("w1"), state)
    kept = wealth(first)
    ship(*conversations("b", 1))
    clock.now += 1.0
    first.turn(state)
    assert wealth(first) > kept
    heir = succeed(first, controller("w2"), state)
    assert wealth(heir) == pytest.approx(wealth(first))


def test_evidence_older_than_the_batches_is_not_lost(
    controller: Make, state: State, forgotten: Controller
) -> None:
    """The state forgets batches after a quarter of an hour."""
    heir = succeed(forgotten, controller("w2"), state)
    assert wealth(heir) == pytest.approx(wealth(forgotten), rel=0.01)
    assert wealth(heir) > 100.0


def test_what_was_counted_is_counted_on(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make, attempt: Make,
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People would take the figures of the last quarter of an hour for those of the rollout; a
    conversation that goes on is no other one."""
    put(phase=Phase.CANARY)
    ship(*conversations("a", 3))
    first = lead(controller("w1"), state)
    clock.now += EVERY + 1
    first.turn(state)
    ship(*conversations("b", 2), attempt(conversation="a0", first_turn=False))
    clock.now += 1.0
    first.turn(state)
    heir = succeed(first, controller("w2"), state)
    for one in (first, heir):
        trial = one._figures["chat"].trial
        assert trial is not None
        assert {arm: (trial.attempts[arm], trial.failures[arm], trial.conversations(arm))
                for arm in Arm} == {Arm.STABLE: (50, 0, 50), Arm.CANDIDATE: (6, 5, 5)}


def test_who_stops_in_peace_keeps_the_newest(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make, clock: Any
) -> None:
    """Not only that of a minute ago."""
    put(phase=Phase.CANARY)
    first = lead(controller("w1"), state)
    ship(*conversations("a", 1))
    clock.now += PUBLISH
    first.turn(state)
    first.stop()
    kept = state.published(kept_name("chat"))
    assert kept is not None
    assert kept["batches"] == {"w1": 1}


def test_what_was_kept_of_another_rollout_is_left_alone(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make
) -> None:
    """Its conversations are not this one's."""
    service = put(phase=Phase.CANARY)
    state.publish(kept_name("chat"), {"rollout": "chat-0", "batches": {"w1": 99}, "trial": {}})
    ship(*conversations("a", 2))
    assert wealth(lead(controller("w1"), state)) > 1.0
    assert service.rollout is not None


@pytest.mark.parametrize("trial", [{}, {"tests": {}}, [], "rubbish", {"scales": 3}])
def test_what_cannot_be_read_is_begun_anew_and_counted(
    controller: Make, put: Make, state: State, ship: Make, conversations: Make, trial: Any,
    counted: Counter[tuple[str, ...]],
) -> None:
    """A controller that cannot start would judge nothing at all."""
    service = put(phase=Phase.CANARY)
    assert service.rollout is not None
    state.publish(kept_name("chat"), {"rollout": service.rollout.id, "batches": {}, "trial": trial})
    ship(*conversations("a", 2))
    assert wealth(lead(controller("w1"), state)) > 1.0
    assert counted["coalmine_faults_total", "evidence"] == 1


def test_a_take_over_that_the_state_interrupts_is_begun_again(
    controller: Make, state: State, forgotten: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it would overwrite what the dead one had kept."""
    heir, real = controller("w2"), state.published

    def once(name: str) -> Any:
        if name == kept_name("chat"):
            monkeypatch.setattr(state, "published", real)
            raise StateUnreachable("for a moment")
        return real(name)

    monkeypatch.setattr(state, "published", once)
    state.unlease("w1")
    with pytest.raises(StateUnreachable):
        lead(heir, state)
    heir.turn(state)
    assert wealth(heir) == pytest.approx(wealth(forgotten), rel=0.01)
    assert wealth(heir) > 100.0
