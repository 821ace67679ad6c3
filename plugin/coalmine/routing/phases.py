"""The two roles of a rollout and the phases of a service."""

from __future__ import annotations

from enum import Enum


class Arm(str, Enum):
    """The role of a release in a rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class Phase(str, Enum):
    """Where a service stands. The transitions are in :mod:`coalmine.rollout.transitions`."""

    IDLE = "idle"
    CANARY = "canary"
    PAUSED = "paused"
    BAKING = "baking"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


ROLLOUT_RUNS = frozenset({Phase.CANARY, Phase.PAUSED, Phase.BAKING})
"""Phases in which a candidate serves and is judged."""

BACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK})
"""Phases in which the candidate has been given up."""
