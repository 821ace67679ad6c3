"""The routing plan: all that a worker needs to know of a service, in memory, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coalmine.release import Slot
from coalmine.routing.phases import Arm, Phase
from coalmine.routing.pins import NO_CHANCE, Pin


@dataclass(frozen=True, slots=True)
class Era:
    """Two releases and the time in which they were the arms of a service.

    Attributes:
        stable: name of the stable release.
        candidate: name of the candidate, None between two rollouts.
    """

    stable: str
    candidate: str | None = None

    def release(self, arm: Arm) -> str:
        """The release of `arm`; stable's where there is no candidate."""
        return self.candidate if arm is Arm.CANDIDATE and self.candidate else self.stable


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """How a service's requests are routed at one epoch. Immutable; never half changed.

    Attributes:
        service: name of the service, which is its home group in LiteLLM.
        epoch: the service's version number.
        phase: where the service stands.
        era: number of the current era.
        eras: the eras that pins may still name, by number.
        stable: the release that is served unless something says otherwise.
        candidate: the release on trial, None when there is none.
        weight: share of the new conversations that the candidate gets, in millionths.
        change: number of the weight change in force.
        chances: chance of the candidate (0 to 1) by number of the weight change, from 1 on;
            number 0 has none.
        slots: slot by name of release.
        finish: after a rollback, conversations on the candidate may end there (policy
            ``on_rollback: finish`` and a mild or manual rollback).
        rescue: a request whose attempt on the candidate failed goes on at stable.
        unit: ``conversation``, or ``key`` when all of one caller's requests stay together.
        began: unix time at which the rollout began, 0 when there is none.
        headers: names of headers that carry a conversation's id, lower case, the first counts.
        grace: seconds after `began` in which an explicit id that was never seen counts as old.
    """

    service: str
    epoch: int
    phase: Phase
    era: int
    eras: Mapping[int, Era]
    stable: str
    candidate: str | None = None
    weight: int = 0
    change: int = NO_CHANCE
    chances: tuple[float, ...] = ()
    slots: Mapping[str, Slot] = field(default_factory=dict)
    finish: bool = False
    rescue: bool = True
    unit: str = "conversation"
    began: float = 0.0
    grace: float = 0.0
    headers: tuple[str, ...] = ()

    def release_of(self, pin: Pin) -> str | None:
        """The release that `pin` names, None when its era has been forgotten."""
        era = self.eras.get(pin.era)
        return era.release(pin.arm) if era else None

    def chance_of(self, pin: Pin) -> float | None:
        """Chance of the candidate when `pin` was drawn, None when it was not drawn."""
        if pin.era != self.era or not 0 < pin.change <= len(self.chances):
            return None
        return self.chances[pin.change - 1]
