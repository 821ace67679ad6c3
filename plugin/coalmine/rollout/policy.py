"""The policy: what a team writes into ``coalmine.yaml``. Frozen models with the only defaults.

A rollout keeps the service's policy as it was at its start; a change of the file is for the next
rollout. Reading the file, with all errors at once, is :mod:`coalmine.rollout.policy_file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from coalmine.guardrails.alpha import ALPHA, misfits
from coalmine.guardrails.durations import Seconds
from coalmine.guardrails.guardrail import DEFAULT_GUARDRAILS, Guardrail, Rule
from coalmine.release import Slot

if TYPE_CHECKING:
    from typing_extensions import Self

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_IN_ENVIRONMENT = re.compile(r"os\.environ/[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS = re.compile(
    r"sqlite://\S.*|rediss?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/\d*)?(?:\?\S*)?"
)
_PASSWORD = re.compile(r"rediss?://(?:.*@|.*[?&]password=)", re.IGNORECASE)


Contradiction = tuple[tuple[str | int, ...], str]
"""Where (fields and indices below the model) and what, in words.

Contradictions are looked for also among the values that are right when others are wrong, so that
a file's errors are told all at once: what could not be read is None, or `...` where it matters
that it was given; a model that could not be read as a whole has only the attributes that could.
"""


def _readable(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (list, tuple)) else ()


def _twice(field: str, values: Any) -> Iterator[Contradiction]:
    """Yield a contradiction for each of the named `values` whose name came before."""
    seen: set[str] = set()
    for index, value in enumerate(_readable(values)):
        name = getattr(value, "name", None)
        if isinstance(name, str):
            if name in seen:
                yield (field, index, "name"), f"the name {name!r} is used twice"
            seen.add(name)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a name: letters, digits and . _ : / + - only, at most 128, "
            "beginning with a letter or a digit"
        )
    return name


def _checked_header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a header; write it without spaces or ':'")
    return name


def _checked_address(address: str) -> str:
    """Never quotes the address: it may hold a secret where nobody expects one."""
    if _IN_ENVIRONMENT.fullmatch(address):
        return address
    if _PASSWORD.match(address):
        raise ValueError(
            "holds a user or a password in clear; put the address into an environment variable "
            "and write os.environ/NAME"
        )
    if not _ADDRESS.fullmatch(address):
        raise ValueError(
            "is not an address of a state; write sqlite:///FILE, redis://HOST, rediss://HOST "
            "or os.environ/NAME"
        )
    return address


def _checked_secret(text: str) -> str:
    if not _IN_ENVIRONMENT.fullmatch(text):
        raise ValueError("is a secret in clear; write os.environ/NAME")
    return text


Name = Annotated[str, AfterValidator(_checked_name)]
HeaderName = Annotated[str, AfterValidator(_checked_header)]
StateAddress = Annotated[str, AfterValidator(_checked_address)]
SecretName = Annotated[str, AfterValidator(_checked_secret)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Yield what is wrong between the fields of this model (see `Contradiction`)."""
        yield from ()

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        for _, message in self.contradictions(dict(self)):
            raise ValueError(message)
        return self


class ReleaseEntry(_Model):
    """A release as the policy names it."""

    slot: Slot = Field(description="Where it runs.")
    digest: str | None = Field(
        None, pattern=r"^[a-z0-9]+:[0-9a-f]{8,128}$", description="Content digest of the bundle."
    )


class Sessions(_Model):
    """How conversations are recognised and what happens to them."""

    headers: tuple[HeaderName, ...] = Field(
        ("x-coalmine-session", "x-openwebui-chat-id"),
        description="Request headers that carry a conversation's id, the first found counts.",
    )
    ttl: Seconds = Field(86400.0, gt=0, description="How long an idle conversation keeps its pin.")
    on_rollback: Literal["move", "finish"] = Field(
        "move", description="What a mild or manual rollback does with the candidate's."
    )
    grace: Seconds = Field(
        60.0, description="After a start, ids first seen within it are taken for old."
    )
    closes_after: Seconds = Field(
        900.0, gt=0, description="How long an idle conversation can still tell something."
    )


class Step(_Model):
    """One step of the plan."""

    weight: float = Field(
        ge=0.1, le=100, strict=True, description="Percent of new conversations; 0.1 is finest."
    )
    soak: Seconds = Field(0.0, alias="for", description="How long the step lasts at least.")
    min_conversations: int = Field(
        0,
        ge=0,
        strict=True,
        description="Candidate conversations that the step needs at least; one also with 0.",
    )
    approve: bool = Field(False, description="Wait for a person's promote at the step's end.")
    require: Literal["evidence"] | None = Field(
        None, description="`evidence` ends the step only when the candidate is proven no worse."
    )


class RolloutPlan(_Model):
    """The steps and what follows them."""

    steps: tuple[Step, ...] = Field(
        (
            Step(weight=1, soak=600, min_conversations=30),
            Step(weight=10, soak=1800),
            Step(weight=50, soak=3600),
            Step(weight=100, soak=0),
        ),
        min_length=1,
        max_length=40,
        description="The weights, rising.",
    )
    bake: Seconds = Field(86400.0, description="How long the old release stays warm after it.")
    holdback: float = Field(
        2.0,
        ge=0,
        le=99.9,
        strict=True,
        description="Percent of new conversations kept on stable in the bake.",
    )

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Weights fall."""
        highest = 0.0
        for index, step in enumerate(_readable(values.get("steps"))):
            weight = getattr(step, "weight", None)
            if not isinstance(weight, float):
                continue
            if weight < highest:
                where = ("steps", index, "weight")
                yield where, f"weights must not fall: {weight:g} comes after {highest:g}"
            highest = max(highest, weight)


def _unprovable(plan: Any, guardrails: Iterable[Any]) -> Iterator[Contradiction]:
    """Yield the first step that requires evidence of which no guardrail gathers any."""
    if any(getattr(g, "rule", Rule.EVIDENCE) is Rule.EVIDENCE and not getattr(g, "dry_run", False)
           for g in guardrails):
        return
    for index, step in enumerate(_readable(getattr(plan, "steps", ()))):
        if getattr(step, "require", None):
            where = ("rollout", "steps", index, "require")
            yield where, "no guardrail that acts has rule: evidence, so nothing can be proven"
            return


class ServicePolicy(_Model):
    """How one service is rolled out."""

    releases: dict[Name, ReleaseEntry] = Field(min_length=1, description="Releases by name.")
    stable: Name = Field(description="The stable release the first time; then the state knows.")
    sessions: Sessions = Field(default_factory=Sessions, description="Conversations.")
    rollout: RolloutPlan = Field(default_factory=RolloutPlan, description="Steps and bake.")
    guardrails: tuple[Guardrail, ...] = Field(
        DEFAULT_GUARDRAILS, max_length=64, description="What must hold."
    )
    alpha: float = Field(
        ALPHA, ge=1e-9, le=0.2, strict=True,
        description="Chance that evidence ever stops a healthy candidate, all guardrails together."
    )
    circuit_breaker: bool = Field(
        True, description="A worker that sees the candidate fail outright rolls back by itself."
    )
    unit: Literal["conversation", "key"] = Field(
        "conversation", description="What is sticky: a conversation, or all of one caller's key. "
        "Of keys only those that are new, or not seen for sessions.ttl, are drawn."
    )
    rescue: bool = Field(True, description="Answer from stable what the candidate failed.")
    stale_after: Seconds = Field(3.0, gt=0, description="State unheard of: stable for new ones.")
    drain_timeout: Seconds = Field(600.0, description="How long a rollback waits for what runs.")
    give_up: Seconds = Field(3600.0, gt=0, description="No candidate attempt for so long: pause.")
    response_headers: Literal["all", "admin", "off"] = Field(
        "all", description="Who is told release, arm and epoch in the answer's headers."
    )

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """A stable release that is none, two releases in a slot, two guardrails of one name."""
        releases = values.get("releases")
        if isinstance(releases, dict):
            stable = values.get("stable")
            if isinstance(stable, str) and releases and stable not in releases:
                yield (
                    ("stable",),
                    f"{stable!r} is none of the releases ({', '.join(map(str, releases))})",
                )
            slots: dict[Slot, str] = {}
            for name, entry in releases.items():
                slot = getattr(entry, "slot", None)
                if not isinstance(slot, Slot):
                    continue
                first = slots.setdefault(slot, name)
                if first != name:
                    yield (
                        ("releases", name, "slot"),
                        f"{first} and {name} are both in slot {slot.value}",
                    )
        guardrails = _readable(values.get("guardrails"))
        yield from _twice("guardrails", guardrails)
        alpha = values.get("alpha")
        if isinstance(alpha, float):
            for place, message in misfits(guardrails, alpha):
                yield ("guardrails", place, "alpha"), message
        yield from _unprovable(values.get("rollout"), guardrails)


class Operator(_Model):
    """Someone who may act beside LiteLLM's proxy admins."""

    name: Name = Field(description="Who, for the log.")
    token_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the token, 64 hex digits, lower case."
    )
    may: tuple[
        Literal["read", "start", "pause", "resume", "promote", "rollback", "register"], ...
    ] = Field(("read",), description="What it may do.")


class Record(_Model):
    """Where ended attempts are recorded, to be [replayed](replay.md#recording)."""

    folder: str = Field(
        "events",
        min_length=1,
        description="The folder, beside this file unless it is a whole path. It is made if need "
        "be; one that others can look into is not used.",
    )
    keep: Seconds = Field(7 * 86400.0, gt=0, description="How long an event is kept.")
    max_bytes: int = Field(
        1_000_000_000,
        ge=1_000_000,
        strict=True,
        description="Bytes of all its files, about; the oldest go first.",
    )


class Policy(_Model):
    """The whole file."""

    state: StateAddress = Field(
        "sqlite:///coalmine.db", description="Where the shared state is, or os.environ/NAME."
    )
    gateway: Name | None = Field(None, description="Name of this gateway; default the host "
                                "name. The environment's `COALMINE_GATEWAY` goes before it.")
    operators: tuple[Operator, ...] = Field((), description="Who may act beside the admins.")
    metrics_token: SecretName | None = Field(
        None, description="Token that may read /coalmine/metrics, as os.environ/NAME."
    )
    alertmanager_token: SecretName | None = Field(
        None, description="Token that may call /coalmine/alertmanager, as os.environ/NAME."
    )
    record: Record | None = Field(
        None, description="Where ended attempts are recorded, default nowhere; may change any time."
    )
    services: dict[Name, ServicePolicy] = Field(
        default_factory=dict, description="Services by name, which is their home group in LiteLLM."
    )

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Two operators have one name."""
        yield from _twice("operators", values.get("operators"))
