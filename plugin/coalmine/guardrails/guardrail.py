"""A guardrail: one metric, one limit, and what happens when it is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from coalmine.guardrails.durations import Seconds

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


LIMITS = ("max", "min", "max_ratio", "min_ratio", "max_increase", "max_slo_ratio")
"""The limits that a guardrail can have. Exactly one is given."""


class Guardrail(BaseModel):
    """One guardrail of a policy. Exactly one limit; comparisons are strict."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    name: str = Field(min_length=1, max_length=64, description="Its name in status, log, metrics.")
    metric: Metric = Field(description="What it looks at.")
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
    slo: Seconds | None = Field(None, gt=0, description="The objective of a latency, a duration.")
    max_slo_ratio: float | None = Field(
        None, gt=0, strict=True, description="Upper limit as a multiple of `slo`."
    )
    window: Seconds = Field(
        0.0,
        alias="for",
        description="Window over which the metric is taken, a duration; at least 30 s count.",
    )
    action: Action = Field(Action.ROLLBACK, description="What a breach does.")
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
    def relative(self) -> bool:
        """Whether it compares with stable."""
        return any(v is not None for v in (self.max_ratio, self.min_ratio, self.max_increase))

    @classmethod
    def contradictions(
        cls, values: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what is wrong between the fields: where, and what in words.

        `values` holds them by name; `...` stands for one that is given but cannot be read.
        """
        given = [name for name in LIMITS if values.get(name) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            yield (), f"give exactly one limit of {', '.join(LIMITS)}; {found}"
        slo, metric = values.get("slo"), values.get("metric")
        if (slo is None) != (values.get("max_slo_ratio") is None):
            yield (), "slo and max_slo_ratio go together"
        if not isinstance(metric, Metric):
            return
        if slo is not None and not metric.is_latency:
            yield ("slo",), f"slo is for latencies, {metric.value} is none"
        for name in ("max", "min"):
            limit = values.get(name)
            if metric.is_share and isinstance(limit, (int, float)) and limit > 1.0:
                yield (name,), f"{limit:g} is more than 1, and {metric.value} is a share, 0 to 1"

    @model_validator(mode="after")
    def _no_contradiction(self) -> Guardrail:
        for _, message in self.contradictions(dict(self)):
            raise ValueError(message)
        return self


DEFAULT_GUARDRAILS: tuple[Guardrail, ...] = (
    Guardrail.model_validate(
        {
            "name": "errors",
            "metric": "error_rate",
            "max_ratio": 2,
            "for": 120,
            "action": "rollback",
            "alone": True,
        }
    ),
    Guardrail.model_validate(
        {
            "name": "hard-errors",
            "metric": "error_rate",
            "max": 0.05,
            "for": 180,
            "action": "rollback",
            "severity": "critical",
        }
    ),
    Guardrail.model_validate(
        {
            "name": "ttft-p95",
            "metric": "ttft_p95",
            "max_increase": 0.3,
            "for": 300,
            "action": "pause",
        }
    ),
    Guardrail.model_validate(
        {
            "name": "request-p95",
            "metric": "request_p95",
            "max_increase": 0.5,
            "for": 300,
            "action": "pause",
        }
    ),
)
"""What protects a policy that names no guardrails."""
