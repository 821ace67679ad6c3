"""A service as the shared state keeps it: one frozen document, changed only by transitions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from coalmine.release import Slot
from coalmine.rollout.policy import RolloutPlan, ServicePolicy, Step
from coalmine.routing import Era, Phase, RoutingPlan, millionths
from coalmine.routing.pins import ERAS_KEPT


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseRecord(_Model):
    """A release that is known to the service."""

    slot: Slot
    digest: str | None = None


class EraRecord(_Model):
    """The releases of one era; see :class:`coalmine.routing.Era`."""

    number: int
    stable: str
    candidate: str | None = None


class Pause(_Model):
    """Why a rollout stands still.

    Attributes:
        by: ``person``, ``guardrail``, ``alert`` or ``controller``.
        who: name of the person or guardrail.
        at: unix time of its beginning.
        timebox: seconds after which it rolls back unanswered, None for never.
        resumes: the phase to which it returns.
        guardrail: name of the guardrail that opened it, None when none did.
    """

    by: Literal["person", "guardrail", "alert", "controller"]
    who: str
    at: float
    timebox: float | None
    resumes: Phase
    guardrail: str | None = None


class Back(_Model):
    """The rollback of a rollout.

    Attributes:
        at: unix time of the flip.
        trigger: what asked for it.
        finish: conversations on the candidate may end there.
        drained: unix time at which nothing was in flight any more, None before.
        leftovers: requests still in flight by worker when the drain was given up.
    """

    at: float
    trigger: str
    finish: bool
    drained: float | None = None
    leftovers: dict[str, int] = Field(default_factory=dict)


class Rollout(_Model):
    """One move of a service from its stable release to a candidate.

    Attributes:
        id: ``<service>-<number>``, for people and logs.
        policy: the service's policy as it was at the start.
        policy_digest: its digest, which stands in the log.
        began: unix time of the start.
        baseline: stable's figures from before, metric by value, plus ``attempts``.
        step: number of the step, from 1.
        step_began: unix time at which the step (or the bake) began.
        soaked: seconds of it already served before the clock last stood still.
        soaking_from: unix time since which the clock runs, None while it stands still.
        changes: weight in percent by number of the weight change, from 1 on.
        waiting: ``approval`` when a person's promote is awaited.
        pause: why it stands still, None when it does not.
        tolerated: guardrails whose pause a person has resumed: they pause it no more.
        back: its rollback, None when there is none.
        verification: proof of the recovery, None until it is attempted.
    """

    id: str
    policy: ServicePolicy
    policy_digest: str
    began: float
    baseline: dict[str, float] = Field(default_factory=dict)
    step: int = 1
    step_began: float
    soaked: float = 0.0
    soaking_from: float | None = None
    changes: tuple[float, ...] = ()
    waiting: Literal["approval"] | None = None
    pause: Pause | None = None
    tolerated: tuple[str, ...] = ()
    back: Back | None = None
    verification: dict[str, Any] | None = None

    @property
    def plan(self) -> RolloutPlan:
        """The steps and the bake."""
        return self.policy.rollout

    @property
    def current_step(self) -> Step:
        """The step in force."""
        return self.plan.steps[self.step - 1]

    def soak(self, now: float) -> float:
        """Seconds of the step (or the bake) that count until `now`.

        Never less than what was served already, though another host's clock be behind.
        """
        running = now - self.soaking_from if self.soaking_from is not None else 0.0
        return self.soaked + max(0.0, running)


class Service(_Model):
    """A service and where it stands.

    Attributes:
        name: what clients call.
        epoch: its version number; every change raises it by one.
        phase: see the transition table.
        since: unix time at which the phase began.
        reason: why it is in this phase, in words.
        stable: the stable release.
        previous: the release that was stable before, to which an idle service can go back.
        candidate: the release on trial, or the one that was rolled back until a new start.
        releases: what is known to run, by name.
        eras: the last eras, newest last.
        rollout: the rollout, None before the first and after a promotion.
        rollouts: how many there were.
    """

    name: str
    epoch: int = 1
    phase: Phase = Phase.IDLE
    since: float
    reason: str = "never rolled out"
    stable: str
    previous: str | None = None
    candidate: str | None = None
    releases: dict[str, ReleaseRecord]
    eras: tuple[EraRecord, ...]
    rollout: Rollout | None = None
    rollouts: int = 0

    @property
    def era(self) -> int:
        """Number of the current era."""
        return self.eras[-1].number

    @property
    def weight(self) -> float:
        """Percent of new conversations that the candidate gets now."""
        if self.rollout and self.rollout.changes and self.phase in (
            Phase.CANARY, Phase.PAUSED, Phase.BAKING,
        ):
            return self.rollout.changes[-1]
        return 0.0

    def serving(self) -> tuple[str, ...]:
        """Names of the releases whose slots serve, and must not be replaced."""
        held = (self.stable, self.candidate, self.previous if self.phase is Phase.IDLE else None)
        return tuple(dict.fromkeys(name for name in held if name))

    def new_era(self, stable: str, candidate: str | None) -> tuple[EraRecord, ...]:
        """The eras with a new one after the current."""
        era = EraRecord(number=self.era + 1, stable=stable, candidate=candidate)
        return (*self.eras, era)[-(ERAS_KEPT - 1):]


def first_state(name: str, policy: ServicePolicy, now: float) -> Service:
    """Return the state of a service that the shared state does not know yet."""
    return Service(
        name=name,
        since=now,
        stable=policy.stable,
        releases={
            release: ReleaseRecord(slot=entry.slot, digest=entry.digest)
            for release, entry in policy.releases.items()
        },
        eras=(EraRecord(number=0, stable=policy.stable),),
    )


def routing_plan(service: Service, policy: ServicePolicy | None) -> RoutingPlan:
    """Return how `service` is routed now.

    Args:
        service: the service's state.
        policy: the policy in force for what no rollout has frozen, None when there is none.
    """
    rollout = service.rollout
    rules = rollout.policy if rollout else policy
    return RoutingPlan(
        service=service.name,
        epoch=service.epoch,
        phase=service.phase,
        era=service.era,
        eras={era.number: Era(era.stable, era.candidate) for era in service.eras},
        stable=service.stable,
        candidate=service.candidate,
        weight=millionths(service.weight),
        change=len(rollout.changes) if rollout else 0,
        chances=tuple(weight / 100 for weight in rollout.changes) if rollout else (),
        slots={name: record.slot for name, record in service.releases.items()},
        finish=bool(rollout and rollout.back and rollout.back.finish),
        rescue=rules.rescue if rules else True,
        unit=rules.unit if rules else "conversation",
        began=rollout.began if rollout else 0.0,
        grace=rules.sessions.grace if rules else 0.0,
        headers=tuple(name.lower() for name in rules.sessions.headers) if rules else (),
    )


__all__ = [
    "Back", "EraRecord", "Pause", "ReleaseRecord", "Rollout", "Service",
    "first_state", "routing_plan",
]
