"""The service as the API shows it: one model for each part, with unit and null of every field.

``docs/api.md`` and the OpenAPI description are made from these models. Weights are percent, times
seconds, moments RFC 3339 in UTC; what does not apply is null.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardrailDocument(_Model):
    """One guardrail's word in the verdict."""

    name: str = Field(description="Its name in the policy.")
    metric: str = Field(description="What it looks at.")
    status: Literal["no_data", "ok", "breach"] = Field(description="What it says.")
    candidate: float | None = Field(
        description="The candidate's figure: a share, seconds, tokens, dollars; null without data.")
    stable: float | None = Field(
        description="What it is compared with; null for absolute limits.")
    limit: float | None = Field(description="What it must not pass; null when unknown.")
    against: Literal["stable", "baseline", "limit"] | None = Field(
        description="What it is judged against.")
    evidence: float | None = Field(description="Evidence against the candidate; null without any.")
    dry_run: bool = Field(description="It is judged and shown, and never acts.")
    sentence: str = Field(description="The same in words.")


class VerdictDocument(_Model):
    """What is to be done, and why."""

    decision: Literal["promote", "hold", "pause", "rollback"] = Field(description="The decision.")
    reason: str = Field(description="Why, in words.")
    guardrails: list[GuardrailDocument] = Field(description="All guardrails, the worst first.")


class ArmDocument(_Model):
    """One arm's figures."""

    release: str = Field(description="Its release.")
    slot: Literal["blue", "green"] | None = Field(
        description="Where it runs; null when another release took its slot.")
    conversations: int = Field(description="Conversations in this rollout.")
    attempts: int = Field(description="Attempts in this rollout that are judged.")
    failures: int = Field(description="Those that failed.")
    in_flight: int = Field(description="Requests that run now, over all live workers.")
    ttft_p50: float | None = Field(description="Seconds to the first content, last 5 minutes.")
    ttft_p95: float | None = Field(description="The same, 95th percentile.")
    ttft_p99: float | None = Field(description="The same, 99th percentile.")


class ArmsDocument(_Model):
    """Both arms; outside a rollout `candidate` is null."""

    stable: ArmDocument
    candidate: ArmDocument | None


class WorkerDocument(_Model):
    """A live worker."""

    id: str = Field(description="Its id, new at each start.")
    gateway: str = Field(description="Its gateway.")
    epoch: int | None = Field(description="The epoch it applies; null before it applies any.")
    applied: str | None = Field(description="When it applied that epoch, to the microsecond.")
    seen: str = Field(description="When it last gave a sign of life.")


class ReleaseDocument(_Model):
    """A known release."""

    slot: Literal["blue", "green"] = Field(description="Where it runs.")
    digest: str | None = Field(description="Content digest; null when nobody stated one.")


class ServiceDocument(_Model):
    """A service."""

    service: str = Field(description="Its name.")
    phase: Literal["idle", "canary", "paused", "baking", "rolling_back", "rolled_back"] = Field(
        description="Where it stands.")
    waiting: Literal["approval"] | None = Field(description="What a step waits for.")
    epoch: int = Field(description="Version number; every change raises it by one.")
    rollout: str | None = Field(description="Id of the rollout; null when none runs.")
    stable: str = Field(description="The stable release.")
    candidate: str | None = Field(description="The candidate, also after its rollback.")
    previous: str | None = Field(description="The release to which an idle service can go back.")
    weight: float = Field(description="Percent of new conversations that the candidate gets.")
    step: int | None = Field(description="Number of the step, from 1; null outside the steps.")
    steps: int | None = Field(description="How many steps; null without a rollout.")
    soaked: float | None = Field(description="Seconds that the step (or bake) has served.")
    soak: float | None = Field(description="Seconds that it has to serve.")
    since: str = Field(description="When the phase began.")
    reason: str = Field(description="Why it is in this phase.")
    verdict: VerdictDocument | None = Field(description="The verdict; null when none is judged.")
    verification: dict[str, Any] | None = Field(description="Proof of a recovery; null before.")
    arms: ArmsDocument = Field(description="Figures of both arms.")
    workers: list[WorkerDocument] = Field(description="Workers seen within 5 s, of all gateways.")
    releases: dict[str, ReleaseDocument] = Field(description="Known releases by name.")
    unrecognised: float | None = Field(
        description="Share of the last hour's conversations that were not recognised, 0 to 1.")
    changed: bool | None = Field(
        None, description="After a command: whether it changed anything; absent otherwise.")
    note: str | None = Field(
        None, description="After a command: what else is worth knowing; absent otherwise.")


class ServicesDocument(_Model):
    """All services."""

    services: list[ServiceDocument]


class EntryDocument(_Model):
    """A line of the log."""

    at: str = Field(description="When.")
    who: str = Field(description="A person, an operator, a guardrail, or coalmine.")
    action: str = Field(description="start, step, pause, resume, promote, promoted, rollback …")
    reason: str = Field(description="Why.")
    before: dict[str, Any] = Field(description="Epoch, phase, weight, releases before it.")
    after: dict[str, Any] = Field(description="The same after it.")
    figures: dict[str, Any] = Field(description="The figures it was decided on; {} without any.")


class HistoryDocument(_Model):
    """The log of a service, oldest first."""

    entries: list[EntryDocument]


class ProblemDocument(_Model):
    """What went wrong."""

    code: str = Field(description="What kind of error, for programs.")
    message: str = Field(description="What is wrong, for people.")
    hint: str = Field(description="What to do about it; may be empty.")


class ErrorDocument(_Model):
    """The body of every answer that is no success."""

    error: ProblemDocument
