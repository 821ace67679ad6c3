"""What can happen to a service. Each event says when, who and why; a command or an observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from coalmine.guardrails.guardrail import Severity
from coalmine.release import Slot
from coalmine.rollout.policy import ServicePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The root of all events.

    Attributes:
        at: unix time.
        who: a person, an operator, or ``coalmine``.
        reason: why, in words; empty when nobody gave one.
    """

    at: float
    who: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Event):
    """Begin a rollout of `release` under `policy`; `baseline` holds stable's figures till now."""

    release: str
    policy: ServicePolicy
    baseline: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOver(Event):
    """The step has soaked, has its conversations, and nothing is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Event):
    """Someone promotes: the next step, from the last one the bake, in the bake its end.

    `full` goes to the last step at once.
    """

    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt(Event):
    """Pause. `timebox` is in seconds, None waits for ever; `guardrail` is whose breach it is."""

    by: Literal["person", "guardrail", "alert", "controller"] = "person"
    timebox: float | None = None
    guardrail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Event):
    """Go on where it stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack(Event):
    """Back to stable, or in idle to `to` (default the previous release).

    Attributes:
        trigger: ``manual``, ``guardrail``, ``timebox``, ``alert`` or ``circuit_breaker``.
        severity: of what triggered it; a mild or manual one may let conversations finish.
        to: release to go back to when idle.
    """

    trigger: str = "manual"
    severity: Severity | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """Nothing runs on the candidate any more, or waiting was given up with `leftovers`."""

    leftovers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeOver(Event):
    """The bake has lasted as long as the policy says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Event):
    """`release` now runs in `slot`."""

    release: str
    slot: Slot
    digest: str | None = None
