"""What the table says of held pins is remembered for as long as it is true."""

from collections.abc import Callable
from typing import Any

from coalmine.gateway.decisions import HeldPins, Up, only_stable
from coalmine.rollout import Promote, RollBack, Start, routing_plan
from coalmine.routing import Arm, Pin

Change = Callable[..., Any]


def test_a_held_pin_is_decided_once_for_each_plan_and_each_loss(change: Change) -> None:
    """The same answer comes back; another plan or a lost arm is another question."""
    plan = routing_plan(change(Start), None)
    held, code = HeldPins(), Pin(plan.era, 1, Arm.CANDIDATE).code
    first = held.ask(plan, code, Up())
    assert held.ask(plan, code, Up()) is first
    assert first[1].arm is Arm.CANDIDATE
    assert held.ask(plan, code, Up(candidate=False))[1].arm is Arm.STABLE
    back = routing_plan(change(RollBack), None)
    assert held.ask(back, code, Up())[1].arm is Arm.STABLE


def test_stable_without_the_table_is_no_evidence(change: Change) -> None:
    """Nothing is written of it either."""
    decision = only_stable(routing_plan(change(Start, Promote), None), "because")
    assert (decision.arm, decision.release, decision.rule) == (Arm.STABLE, "v1", "because")
    assert (decision.pin, decision.evidence, decision.chance) == (None, False, None)
