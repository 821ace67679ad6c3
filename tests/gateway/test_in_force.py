"""What is in force: merged from the state, the snapshot and the rollbacks that wait."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.gateway.in_force import InForce
from coalmine.rollout import Policy, RollBack, Service, Start, apply, first_state
from coalmine.routing import Phase
from coalmine.state import Entry

BACK = Entry(0, "chat", "ann", "rollback", "bad answers")


@pytest.fixture
def idle(policy: Policy, clock: Any) -> Service:
    """The service before any rollout."""
    return first_state("chat", policy.services["chat"], clock.now)


@pytest.fixture
def canary(idle: Service, policy: Policy, clock: Any) -> Service:
    """The service in a rollout."""
    return apply(idle, Start(at=clock.now, who="ann", release="v2",
                             policy=policy.services["chat"]))


@pytest.fixture
def in_force(policy: Policy, clock: Callable[[], float]) -> InForce:
    """What is in force in a worker that has booted without a snapshot."""
    made = InForce(lambda: policy.services, clock)
    made.boot({})
    return made


def test_what_is_the_same_changes_nothing_but_the_first_time(
    in_force: InForce, canary: Service
) -> None:
    """Until then the plans are the boot's: stable only, and below any epoch."""
    plan = in_force.plans["chat"]
    assert (plan.stable, plan.candidate, plan.epoch) == ("v1", None, 0)
    assert in_force.take({"chat": canary}) == (True, [])
    assert in_force.take({"chat": canary}) == (False, [])
    assert in_force.plans["chat"].candidate == "v2"


def test_the_moment_of_an_epoch_is_kept(
    in_force: InForce, idle: Service, canary: Service, clock: Any
) -> None:
    """The time at which this worker began to apply it, however often it is told."""
    in_force.take({"chat": idle})
    clock.now += 5
    began = clock.now
    in_force.take({"chat": canary})
    clock.now += 5
    in_force.take({"chat": canary})
    assert in_force.applied_at == {"chat": began}


def test_what_the_state_has_lost_stays_and_is_told(
    in_force: InForce, idle: Service, canary: Service
) -> None:
    """Whether it is older, or has it no more."""
    in_force.take({"chat": canary})
    assert in_force.take({"chat": idle}) == (False, [canary])
    assert in_force.take({}) == (False, [canary])
    assert in_force.service("chat") == canary


def test_a_rollback_that_waits_stays_until_it_is_written(
    in_force: InForce, canary: Service, clock: Any
) -> None:
    """It is not lost by the state, which never had it; and it is written once."""
    in_force.take({"chat": canary})
    in_force.apply_first(apply(canary, RollBack(at=clock.now, who="ann")), BACK)
    assert in_force.plans["chat"].phase is Phase.ROLLING_BACK
    assert in_force.take({"chat": canary}) == (False, [])
    assert in_force.plans["chat"].phase is Phase.ROLLING_BACK
    assert [in_force.written("chat"), in_force.written("chat")] == [True, False]


def test_a_service_that_only_the_snapshot_knows_goes_on_as_it_began(
    in_force: InForce, idle: Service, canary: Service
) -> None:
    """On its stable release, beside what the state says of the others."""
    other = canary.model_copy(update={"name": "other"})
    in_force.boot({"other": other})
    in_force.take({"chat": idle})
    plan = in_force.plans["other"]
    assert (plan.stable, plan.candidate, plan.phase) == ("v1", None, Phase.IDLE)
    assert (in_force.seen("other"), in_force.seen("chat")) == (other, idle)
    assert set(in_force.services) == {"chat", "other"}


def test_a_snapshot_of_this_very_state_counts_as_applied(
    in_force: InForce, idle: Service, canary: Service
) -> None:
    """An older state does not undo what this host has seen before it was restarted."""
    in_force.boot({"chat": canary})
    in_force.trust_boot()
    assert in_force.take({"chat": idle}) == (True, [canary])
    assert in_force.plans["chat"].candidate == "v2"
