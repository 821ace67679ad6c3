"""A guardrail: one metric, one limit, and what happens when it is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from coalmine.guardrails.durations import Seconds
from coalmine.guardrails.measure import Measure

MIN_WINDOW = 30.0
"""Seconds: the shortest window over which a rate or a percentile is judged."""


class Metric(str, Enum):
    """What a guardrail looks at. Rates are shares (0 to 1), latencies seconds."""

    ERROR_RATE = "error_rate"
    TIMEOUT_RATE = "timeout_rate"
    AVAILABILITY = "availability"
    TTFT_P50 = "ttft_p50"
    TTFT_P90 = "ttft_p90"
    TTFT_P95 = "ttft_p95"
    TTFT_P99 = "ttft_p99"
    INTER_TOKEN_P50 = "inter_token_p50"
    INTER_TOKEN_P90 = "inter_token_p90"
    INTER_TOKEN_P95 = "inter_token_p95"
    INTER_TOKEN_P99 = "inter_token_p99"
    REQUEST_P50 = "request_p50"
    REQUEST_P90 = "request_p90"
    REQUEST_P95 = "request_p95"
    REQUEST_P99 = "request_p99"
    TOKENS_PER_REQUEST = "tokens_per_request"
    COST_PER_REQUEST = "cost_per_request"
    THROUGHPUT = "throughput"
    SCORE = "score"
    TTFT = "ttft"
    INTER_TOKEN = "inter_token"
    REQUEST = "request"

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole distribution, which only evidence can judge."""
        return self in (Metric.TTFT, Metric.INTER_TOKEN, Metric.REQUEST)

    @property
    def measure(self) -> Measure | None:
        """What evidence compares for it, None where it cannot."""
        if self.is_share:
            return Measure.ERRORS
        if self is Metric.THROUGHPUT:
            return None
        return Measure(self.value.rsplit("_p", 1)[0] if self.is_latency else self.value)

    @property
    def is_latency(self) -> bool:
        """Whether it is a percentile of a time, in seconds."""
        return "_p" in self.value and self.value.rsplit("_p", 1)[1].isdigit()

    @property
    def is_share(self) -> bool:
        """Whether it is a share of attempts, 0 to 1."""
        return self in (Metric.ERROR_RATE, Metric.TIMEOUT_RATE, Metric.AVAILABILITY)


class Severity(str, Enum):
    """How bad a breach is; the worst one counts."""

    MILD = "mild"
    MAJOR = "major"
    CRITICAL = "critical"


class Action(str, Enum):
    """What a breach asks for."""

    PAUSE = "pause"
    ROLLBACK = "rollback"


class Rule(str, Enum):
    """How a guardrail decides."""

    STATIC = "static"
    EVIDENCE = "evidence"


LIMITS = ("max", "min", "max_ratio", "min_ratio", "max_increase", "max_slo_ratio", "max_burn_rate")
"""The limits that a static guardrail can have. Exactly one is given."""

_FOR_EVIDENCE = ("margin", "acceptable", "alpha")
"""What only a guardrail of evidence has."""


class Guardrail(BaseModel):
    """One guardrail of a policy. Exactly one limit, or `rule: evidence`; comparisons are strict."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    name: str = Field(min_length=1, max_length=64, description="Its name in status, log, metrics.")
    metric: Metric = Field(description="What it looks at.")
    rule: Rule = Field(
        Rule.STATIC, description="`static` compares with a limit, `evidence` with stable, over all "
        "conversations of the rollout, by a test that stays valid while looking all the time."
    )
    max: float | None = Field(
        None, ge=0, strict=True, description="Absolute upper limit, in the metric's unit."
    )
    min: float | None = Field(
        None, ge=0, strict=True, description="Absolute lower limit, in the metric's unit."
    )
    max_ratio: float | None = Field(
        None,
        gt=0,
        strict=True,
        description="Upper limit as a multiple of the stable arm in the same minutes.",
    )
    min_ratio: float | None = Field(
        None,
        gt=0,
        strict=True,
        description="Lower limit as a multiple of the stable arm in the same minutes.",
    )
    max_increase: float | None = Field(
        None,
        gt=0,
        strict=True,
        description="Upper limit as a relative increase over stable; 0.3 is +30 %.",
    )
    slo: Seconds | None = Field(
        None, gt=0, description="The objective: of a latency a duration, of a share the part that "
        "must go well, between 0 and 1 (0.999)."
    )
    max_slo_ratio: float | None = Field(
        None, gt=0, strict=True, description="Upper limit as a multiple of `slo`."
    )
    max_burn_rate: float | None = Field(
        None, gt=0, strict=True, description="Upper limit of the speed at which the error budget "
        "(1 − `slo`) is used up, over `for` and over a twelfth of it; 1 uses it up exactly."
    )
    window: Seconds = Field(
        0.0,
        alias="for",
        description="Window over which the metric is taken, a duration; at least 30 s count.",
    )
    margin: float | None = Field(
        None, ge=0, le=10, strict=True, description="Evidence: how much worse than stable the "
        "candidate may be, as a share of stable's figure (0.1 is 10 %); of `score` a difference. "
        "Default 0.1, for `score` 0.01."
    )
    acceptable: float | None = Field(
        None, gt=0, le=10, strict=True, description="Evidence: up to how much worse it must be "
        "proven to be no more, where a step says `require: evidence`. Default 1 for rates (twice "
        "as many), 0.3 for the rest, for `score` 0.05, and the margin where that is more. Of "
        "errors, fewer than one failing conversation in 200 is acceptable however few stable's "
        "are."
    )
    alpha: float | None = Field(
        None, ge=1e-9, le=0.2, strict=True,
        description="Evidence: its part of the service's `alpha`; default an equal share of what "
        "others leave."
    )
    action: Action | None = Field(
        None, description="What a breach does; default by severity: `mild` pauses, else rollback."
    )
    severity: Severity = Field(
        Severity.MAJOR, description="How bad a breach is; `mild` lets conversations finish."
    )
    min_conversations: int = Field(
        30,
        ge=1,
        strict=True,
        description="Candidate conversations within the window, below which it holds.",
    )
    timebox: Seconds = Field(
        1200.0, description="How long a pause of this guardrail waits before it rolls back."
    )
    dry_run: bool = Field(False, description="Judge and show, never act.")
    alone: bool = Field(
        False, description="A relative breach acts without corroboration by evidence."
    )

    @property
    def seconds(self) -> float:
        """The window, in seconds."""
        return max(self.window, MIN_WINDOW)

    @property
    def short(self) -> float:
        """The second, short window of a burn rate, in seconds."""
        return max(self.window / 12, MIN_WINDOW)

    @property
    def spans(self) -> tuple[float, ...]:
        """The windows that it needs, in seconds."""
        if self.rule is Rule.EVIDENCE:
            return ()
        return (self.seconds,) if self.max_burn_rate is None else (self.seconds, self.short)

    @property
    def relative(self) -> bool:
        """Whether it compares with stable's figure."""
        return any(v is not None for v in (self.max_ratio, self.min_ratio, self.max_increase))

    @property
    def does(self) -> Action:
        """What a breach does."""
        if self.action is not None:
            return self.action
        return Action.PAUSE if self.severity is Severity.MILD else Action.ROLLBACK

    @property
    def worse_by(self) -> float:
        """Margin of the evidence that the candidate is worse."""
        return _usual_margin(self.metric) if self.margin is None else self.margin

    @property
    def no_worse_by(self) -> float:
        """Margin of the evidence that it is not."""
        if self.acceptable is not None:
            return self.acceptable
        if self.metric is Metric.SCORE:
            return max(0.05, self.worse_by)
        return max(1.0 if self.metric.is_share else 0.3, self.worse_by)

    @classmethod
    def contradictions(
        cls, values: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what is wrong between the fields: where, and what in words.

        `values` holds them by name; `...` stands for one that is given but cannot be read.
        """
        metric = values.get("metric")
        if values.get("rule") is Rule.EVIDENCE:
            yield from _of_evidence(values, metric)
            return
        given = [name for name in LIMITS if values.get(name) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            yield (), (f"give exactly one limit of {', '.join(LIMITS)}, or rule: evidence; "
                       f"{found}")
        for name in _FOR_EVIDENCE:
            if values.get(name) is not None:
                yield (name,), f"{name} is for rule: evidence"
        yield from _of_slo(values, metric)
        if not isinstance(metric, Metric):
            return
        if metric.is_whole:
            yield ("metric",), (f"{metric.value} is a whole distribution: rule: evidence judges "
                                f"it, a limit needs a percentile such as {metric.value}_p95")
        for name in ("max", "min"):
            limit = values.get(name)
            share = metric.is_share or metric is Metric.SCORE
            if not share or not isinstance(limit, (int, float)):
                continue
            if limit > 1.0:
                yield (name,), f"{limit:g} is more than 1, and {metric.value} is a share, 0 to 1"
            elif limit == {"max": 1.0, "min": 0.0}[name]:
                yield (name,), (f"{limit:g} can never be passed, as {metric.value} is 0 to 1; 1 % "
                                "is 0.01")
        for name in ("max_ratio", "min_ratio", "max_increase"):
            if metric is Metric.THROUGHPUT and values.get(name) is not None:
                yield (name,), ("the arms' throughput is as their weights are, and not compared: "
                                "give max or min")

    @model_validator(mode="after")
    def _no_contradiction(self) -> Guardrail:
        for _, message in self.contradictions(dict(self)):
            raise ValueError(message)
        return self


def _usual_margin(metric: Metric) -> float:
    """Return the margin where none is written."""
    return 0.01 if metric is Metric.SCORE else 0.1


def _of_slo(values: Mapping[str, Any], metric: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    slo, ratio, burn = (values.get(name) for name in ("slo", "max_slo_ratio", "max_burn_rate"))
    if slo is None and ratio is not None:
        yield ("max_slo_ratio",), "max_slo_ratio is a multiple of slo: give one, such as slo: 800ms"
    elif slo is None and burn is not None:
        yield ("max_burn_rate",), "max_burn_rate needs slo, the part that must go well: slo: 0.999"
    elif slo is not None and ratio is None and burn is None:
        yield ("slo",), "slo goes together with max_slo_ratio (latencies) or max_burn_rate (rates)"
    if slo is None or not isinstance(metric, Metric):
        return
    if burn is None and not metric.is_latency:
        yield ("slo",), (f"slo with max_slo_ratio is for percentiles of latencies, {metric.value} "
                         "is none")
    if burn is not None and not metric.is_share:
        yield ("max_burn_rate",), f"a burn rate is for rates, {metric.value} is none"
    elif burn is not None and isinstance(slo, float) and not 0.0 < slo < 1.0:
        yield ("slo",), (f"{slo:g} is not between 0 and 1: write the part that must go well, such "
                         "as 0.999")
    elif isinstance(burn, float) and isinstance(slo, float) and burn * (1.0 - slo) >= 1.0:
        yield ("max_burn_rate",), (f"{burn:g} can never be passed: with slo {slo:g} a burn rate is "
                                   f"{1 / (1 - slo):g} when everything fails")


def _of_evidence(values: Mapping[str, Any], metric: Any
                 ) -> Iterator[tuple[tuple[str, ...], str]]:
    for name in (*LIMITS, "slo"):
        if values.get(name) is not None:
            yield (name,), f"rule: evidence has no {name}; margin says how much worse is tolerated"
    for name, key, usual in (("window", "for", 0.0), ("min_conversations", None, 30),
                             ("alone", None, False)):
        if values.get(name, usual) not in (usual, ...):
            yield (key or name,), (f"rule: evidence has no {key or name}: it is over the whole "
                                   "rollout, and holds by itself while there is too little")
    if not isinstance(metric, Metric):
        return
    margin, acceptable = values.get("margin"), values.get("acceptable")
    tolerated = _usual_margin(metric) if margin is None else margin
    if isinstance(tolerated, float) and isinstance(acceptable, float) and acceptable < tolerated:
        whose = " that is usual" if margin is None else ""
        yield ("acceptable",), (f"{acceptable:g} is less than the margin {tolerated:g}{whose}: "
                                "what is tolerated could never be proven acceptable")
    if metric.measure is None:
        yield ("metric",), f"there is no evidence on {metric.value}: no conversation has one"
    if metric in (Metric.TIMEOUT_RATE, Metric.AVAILABILITY):
        yield ("metric",), f"evidence on {metric.value} is that on error_rate: write error_rate"
    if metric.is_latency:
        whole = metric.value.rsplit("_p", 1)[0]
        yield ("metric",), f"evidence compares whole distributions: write {whole}"
    for name in ("margin", "acceptable"):
        margin = values.get(name)
        if metric is Metric.SCORE and isinstance(margin, (int, float)) and margin >= 1.0:
            yield (name,), (f"a score is between 0 and 1: no candidate can be worse by "
                            f"{margin:g}")


DEFAULT_GUARDRAILS: tuple[Guardrail, ...] = tuple(map(Guardrail.model_validate, (
    {"name": "errors", "metric": "error_rate", "rule": "evidence", "severity": "critical"},
    {"name": "ttft", "metric": "ttft", "rule": "evidence"},
    {"name": "inter-token", "metric": "inter_token", "rule": "evidence"},
    # A release that says more takes longer: that is for people to judge.
    {"name": "request", "metric": "request", "rule": "evidence", "margin": 0.5,
     "severity": "mild"},
    {"name": "score", "metric": "score", "rule": "evidence"},
    {"name": "hard-errors", "metric": "error_rate", "max": 0.2, "for": 180, "severity": "critical"},
)))
"""What protects a policy that names no guardrails."""
