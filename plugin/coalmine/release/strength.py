"""How much the deployments of a slot can bear, by what their configuration says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strength:
    """What the deployments of one slot say of themselves.

    Attributes:
        capacity: how much they bear together, in any unit that both slots share; a deployment that
            does not say counts 1.
        hosts: the hosts they name.
    """

    capacity: float = 0.0
    hosts: frozenset[str] = frozenset()
