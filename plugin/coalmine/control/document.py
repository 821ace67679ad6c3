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
        description="The candidate's figure: a share, seconds, tokens, dollars, a burn "
        "rate; null without data.")
    stable: float | None = Field(
        description="What it is compared with; null for absolute limits.")
    limit: float | None = Field(description="What it must not pass; null when unknown.")
    one_in: int | None = Field(
        description="Attempts in which stable is counted as having had one failure, because its "
        "own share is smaller; null where its own figure counts.")
    against: Literal["stable", "baseline", "limit", "budget"] | None = Field(
        description="What it is judged against; the figures of an error budget are burn rates.")
    evidence: float | None = Field(
        description="Evidence that the candidate is worse, 1 at the beginning; null where there is "
        "none on this metric.")
    bar: float | None = Field(
        description="The evidence at which it acts; null for those with a limit.")
    decided_in: float | None = Field(
        description="Seconds till the bar is reached if all goes on as it did; null if never.")
    proven: float | None = Field(
        description="Evidence that the candidate is no worse, proven from 20 on; null where no "
        "step asks for it.")
    dry_run: bool = Field(description="It is judged and shown, and never acts.")
    sentence: str = Field(description="The same in words.")


class SplitDocument(_Model):
    """The conversations that evidence rests on, and whether their split fits the chances given."""

    conversations: int = Field(
        description="Conversations that could have landed on either arm, asked for 90 s ago or "
        "longer.")
    candidate: int = Field(description="Those that the candidate has.")
    expected: float = Field(description="Those that it should have by the chances given.")
    evidence: float = Field(
        description="Evidence that the split does not fit, 1 at the beginning; from 1 000 on the "
        "rollout does not grow.")
    left_out: dict[str, int] = Field(
        description="Attempts of such conversations that are no evidence, by reason: "
        "`began_unseen` (its first turn was not seen in this rollout), `caller_limit` (more than "
        "100 conversations of one caller in a minute), `full` (more than 50 000 conversations at "
        "a time), `too_late` (first heard of minutes after it was asked for), `another_arm` "
        "(moved).")


class VerdictDocument(_Model):
    """What is to be done, and why."""

    decision: Literal["promote", "hold", "pause", "rollback"] = Field(description="The decision.")
    reason: str = Field(description="Why, in words.")
    guardrails: list[GuardrailDocument] = Field(description="All guardrails, the worst first.")
    split: SplitDocument | None = Field(
        None, description="The conversations that evidence rests on; null in verdicts of versions "
        "that did not tell.")


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


class PolicyDocument(_Model):
    """How the policy file stands; told only when it is not as it should be."""

    status: Literal["error", "restart_needed"] = Field(
        description="`error`: it cannot be used; `restart_needed`: it came after a start without.")
    file: str = Field(description="Its name, as the proxy knows it.")
    in_force: bool = Field(description="Whether a policy is in force: with errors the last good.")
    since: str | None = Field(description="Since when that is so.")
    count: int = Field(description="How many errors it has.")
    errors: list[str] = Field(description="The first 20 of them, with file, line and field.")
    message: str = Field(description="The same in one sentence.")
    hint: str = Field(description="What to do about it.")


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
    soaked: float | None = Field(description="Seconds that the step (or bake) has served and "
                                 "somebody judged: what counts as soak.")
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
    grace_until: str | None = Field(
        description="Until then ids that were never seen are taken for old (`sessions.grace`) and "
        "get stable; null when no grace runs.")
    changed: bool | None = Field(
        None, description="After a command: whether it changed anything; absent otherwise.")
    note: str | None = Field(
        None, description="After a command: what else is worth knowing; absent otherwise.")
    policy: PolicyDocument | None = Field(
        None, description="What is wrong with the policy file; absent while nothing is.")


class ServicesDocument(_Model):
    """All services."""

    services: list[ServiceDocument]
    policy: PolicyDocument | None = Field(
        None, description="What is wrong with the policy file; absent while nothing is.")


class DeploymentDocument(_Model):
    """One deployment's figures on this gateway, since its counters began."""

    service: str = Field(
        description="Its service; one that no policy names is `model_info.service`, or its group.")
    deployment: str = Field(description="Its id in LiteLLM.")
    release: str = Field(description="The release that it served; empty without a policy.")
    arm: Literal["stable", "candidate", ""] = Field(description="That release's arm, then.")
    attempts: int = Field(description="Attempts that are judged.")
    failures: int = Field(description="Those that failed.")
    ttft: float | None = Field(
        description="Mean seconds to the first content, of streams; null without any.")
    request: float | None = Field(description="Mean seconds of a good answer; null without any.")


class DeploymentsDocument(_Model):
    """Figures of each deployment, with or without a policy."""

    deployments: list[DeploymentDocument]
    policy: PolicyDocument | None = Field(
        None, description="What is wrong with the policy file; absent while nothing is.")


class HealthDocument(_Model):
    """Whether Coalmine is well on the worker that answers; no configuration is in it."""

    status: Literal["ok", "degraded"] = Field(
        description="`degraded` comes with HTTP 503, and one of the fields below says why.")
    mode: Literal["rollout", "observe", "stable_only"] = Field(
        description="`rollout`: by the policy; `observe`: nobody wrote one; `stable_only`: stable "
        "is served and nothing can be started, because the policy or LiteLLM cannot be used.")
    state: Literal["reached", "out_of_reach", "unused"] = Field(
        description="The shared state; `unused` while a faulty policy leaves open which one.")
    policy: Literal["ok", "error", "restart_needed"] = Field(
        description="The policy file: `ok`, also when there is none and none is wanted; `error`: "
        "it cannot be used, and with `mode: rollout` the last good one is in force; "
        "`restart_needed`: it came after a start without.")
    controller: Literal["ok", "missing", "unknown"] = Field(
        description="Whether some worker judges the rollouts; `unknown` in the first 10 s, without "
        "services, and while the state is out of reach.")
    litellm: Literal["ok", "unsupported"] = Field(
        description="Whether this LiteLLM's hooks are the ones we know.")
    warnings: int = Field(
        description="Doubtful deployments in LiteLLM's config; the proxy's log names them.")


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
