"""Asking the decision table, with what a request knows."""

from __future__ import annotations

from typing import NamedTuple

from coalmine.routing import Arm, Decision, Pin, RoutingPlan, decide, read_pin


class Up(NamedTuple):
    """Which arms have a deployment left for a request."""

    stable: bool = True
    candidate: bool = True


def only_stable(plan: RoutingPlan, why: str) -> Decision:
    """Stable without asking the table: nothing is written, and it is no evidence."""
    return Decision(arm=Arm.STABLE, release=plan.stable, rule=why)


class HeldPins:
    """What the table says of the pins that conversations hold.

    It depends on the plan, the pin and what is up, and on nothing else, so an answer is kept as
    long as the plan is in force.
    """

    def __init__(self) -> None:
        self._answers: dict[str, tuple[
            RoutingPlan | None, dict[tuple[int, bool, bool], tuple[Pin, Decision]]]] = {}

    def ask(self, plan: RoutingPlan, code: int, up: Up) -> tuple[Pin, Decision]:
        """Return the pin of this code and the decision for it."""
        of, answers = self._answers.get(plan.service, (None, {}))
        if of is not plan:
            answers = {}
            self._answers[plan.service] = (plan, answers)
        found = answers.get((code, up.stable, up.candidate))
        if found is None:
            pin = read_pin(code, plan.era)
            found = pin, decide(plan, pin, new=False, stable_up=up.stable,
                                candidate_up=up.candidate)
            answers[code, up.stable, up.candidate] = found
        return found
