"""Conversation keys and arm assignment. Pure."""

from coalmine.routing.decide import Decision, Moved, decide
from coalmine.routing.draw import WHOLE, bucket, millionths
from coalmine.routing.phases import BACK, ROLLOUT_RUNS, Arm, Phase
from coalmine.routing.pins import NO_CHANCE, Pin, read_pin
from coalmine.routing.plan import Era, RoutingPlan

__all__ = [
    "BACK",
    "NO_CHANCE",
    "ROLLOUT_RUNS",
    "WHOLE",
    "Arm",
    "Decision",
    "Era",
    "Moved",
    "Phase",
    "Pin",
    "RoutingPlan",
    "bucket",
    "decide",
    "millionths",
    "read_pin",
]
