"""What is known of a turn that still runs."""

from __future__ import annotations

import pytest
from tests.guardrails.outcomes import turns

from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails.units import LATER, OPENING, Stage, Unit


def waiting(*, asked: float, waited: float, ttft: float | None = None) -> Attempt:
    """A turn that was told of after it had run for `waited` seconds."""
    (one,) = turns("c", [{"outcome": Outcome.WAITING, "seconds": waited, "ttft": ttft}],
                   candidate=True, at=asked + waited)
    return one


@pytest.fixture
def unit() -> Unit:
    """A conversation that began at 100 s."""
    return Unit(candidate=True, chance=0.1, caller="", asked=100.0, ends=100.0 + OPENING,
                seen=100.0, detectors=1)


def test_a_turn_has_run_until_now_not_only_until_it_was_last_told_of(unit: Unit) -> None:
    """And its first token took at least as long, if it has not come."""
    unit.running = waiting(asked=100.0, waited=60.0, ttft=60.0)
    running = unit.running_till(190.0)
    assert running is not None
    assert (running.seconds, running.ttft) == (90.0, 90.0)


def test_a_first_token_that_has_come_stays_where_it_was(unit: Unit) -> None:
    """Only the whole takes longer."""
    unit.running = waiting(asked=100.0, waited=60.0, ttft=2.0)
    running = unit.running_till(190.0)
    assert running is not None
    assert (running.seconds, running.ttft) == (90.0, 2.0)


def test_what_runs_no_more_or_was_told_of_later_stays_as_it_is(unit: Unit) -> None:
    """A conversation may be closed before its time."""
    assert unit.running_till(190.0) is None
    unit.running = waiting(asked=180.0, waited=60.0)
    assert unit.running_till(190.0) is unit.running


@pytest.mark.parametrize(("stage", "asked", "hangs"), [
    (Stage.OPENING, 100.0, True), (Stage.OPENING, 120.0, False),
    (Stage.LATER, 100.0 + LATER - OPENING, True), (Stage.LATER, 110.0 + LATER - OPENING, False),
])
def test_a_turn_hangs_that_has_run_as_long_as_an_opening(
    unit: Unit, stage: Stage, asked: float, hangs: bool
) -> None:
    """At the end of a part, however long ago it was told of."""
    unit.stage = stage
    assert not unit.hangs
    unit.running = waiting(asked=asked, waited=1.0)
    assert unit.hangs is hangs
