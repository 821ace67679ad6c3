"""A guardrail of a policy: what it may hold and what contradicts itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from coalmine.guardrails.guardrail import (
    DEFAULT_GUARDRAILS,
    LIMITS,
    MIN_WINDOW,
    Action,
    Guardrail,
    Metric,
)


def guardrail(**fields: Any) -> Guardrail:
    return Guardrail.model_validate({"name": "g", "metric": "error_rate", **fields})


CONTRADICTIONS = [
    ({}, "exactly one limit .* found none"),
    ({"max": 0.1, "max_ratio": 2}, "found max and max_ratio"),
    ({"max": 0.1, "slo": "1s"}, "goes together"),
    ({"max_slo_ratio": 2}, "is a multiple of slo"),
    ({"slo": "1s", "max_slo_ratio": 2}, "error_rate is none"),
    ({"max": 1.5}, "1.5 is more than 1"),
    ({"max": 1}, "1 can never be passed, as error_rate is 0 to 1; 1 % is 0.01"),
    ({"metric": "availability", "min": 0}, "0 can never be passed"),
    ({"metric": "throughput", "min_ratio": 0.5}, "throughput is as their weights are"),
    ({"metric": "ttft", "max": 1}, "a limit needs a percentile such as ttft_p95"),
    ({"slo": 1.5, "max_burn_rate": 2}, "1.5 is not between 0 and 1"),
    ({"slo": 1, "max_burn_rate": 2}, "1 is not between 0 and 1"),
    ({"max_burn_rate": 2}, "needs slo"),
    ({"metric": "ttft_p95", "slo": 0.9, "max_burn_rate": 2}, "ttft_p95 is none"),
    ({"max": 0.1, "margin": 0.1}, "margin is for rule: evidence"),
    ({"max": 0.1, "alpha": 0.1}, "alpha is for rule: evidence"),
    ({"rule": "evidence", "max": 0.1}, "rule: evidence has no max"),
    ({"rule": "evidence", "metric": "ttft_p95"}, "write ttft"),
    ({"rule": "evidence", "metric": "timeout_rate"}, "write error_rate"),
    ({"rule": "evidence", "metric": "throughput"}, "there is no evidence on throughput"),
    ({"rule": "evidence", "metric": "score", "margin": 1}, "no candidate can be worse by 1"),
    ({"rule": "evidence", "acceptable": 0}, "greater than 0"),
    ({"rule": "evidence", "alpha": 0.5}, "less than or equal to 0.2"),
    ({"rule": "evidence", "alpha": 1e-12}, "greater than or equal to 0.000000001"),
    ({"rule": "evidence", "for": "5m"}, "rule: evidence has no for"),
    ({"rule": "evidence", "min_conversations": 200}, "has no min_conversations"),
    ({"rule": "evidence", "alone": True}, "has no alone"),
    ({"rule": "evidence", "margin": 0.5, "acceptable": 0.2}, "could never be proven acceptable"),
    ({"rule": "evidence", "acceptable": 0.05}, "0.05 is less than the margin 0.1 that is usual"),
    ({"slo": 0.9, "max_burn_rate": 14.4}, "can never be passed"),
    ({"metric": "availability", "min": 99}, "99 is more than 1"),
    ({"max": -0.1}, "greater than or equal to 0"),
    ({"max_ratio": 0}, "greater than 0"),
    ({"max_ratio": True}, "valid number"),
    ({"max_ratio": "2"}, "valid number"),
    ({"max": float("nan")}, "finite"),
    ({"max_ratio": float("inf")}, "finite"),
    ({"metric": "ttft_p99", "slo": 0, "max_slo_ratio": 2}, "greater than 0"),
    ({"max": 0.1, "min_conversations": 0}, "greater than or equal to 1"),
    ({"max": 0.1, "colour": "red"}, "Extra inputs"),
    ({"max": 0.1, "name": ""}, "at least 1 character"),
]


@pytest.mark.parametrize(("fields", "said"), CONTRADICTIONS, ids=lambda value: str(value)[:40])
def test_a_guardrail_that_cannot_hold_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        guardrail(**fields)


@pytest.mark.parametrize("limit", [
    name for name in LIMITS if name not in ("max_slo_ratio", "max_burn_rate")
])
def test_each_limit_alone_is_enough(limit: str) -> None:
    assert getattr(guardrail(**{limit: 0.5}), limit) == 0.5


def test_a_burn_rate_has_an_objective_and_a_second_window() -> None:
    """The short one is a twelfth of the long one, but never shorter than any window."""
    one = guardrail(slo=0.999, max_burn_rate=14.4, **{"for": "1h"})
    assert one.spans == (3600.0, 300.0)
    assert guardrail(slo=0.999, max_burn_rate=14.4).spans == (MIN_WINDOW, MIN_WINDOW)


@pytest.mark.parametrize(("fields", "does"), [
    ({}, Action.ROLLBACK), ({"severity": "critical"}, Action.ROLLBACK),
    ({"severity": "mild"}, Action.PAUSE), ({"severity": "mild", "action": "rollback"},
                                           Action.ROLLBACK),
    ({"severity": "critical", "action": "pause"}, Action.PAUSE),
])
def test_severity_says_what_a_breach_does_unless_the_policy_does(
    fields: dict[str, Any], does: Action
) -> None:
    assert guardrail(max=0.1, **fields).does is does


def test_an_objective_and_its_ratio_make_a_limit() -> None:
    assert guardrail(metric="ttft_p99", slo="800ms", max_slo_ratio=2).slo == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("limit", "relative"),
    [("max", False), ("min", False), ("max_ratio", True), ("min_ratio", True),
     ("max_increase", True)],
)  # fmt: skip
def test_only_limits_that_compare_with_stable_are_relative(limit: str, relative: bool) -> None:
    assert guardrail(**{limit: 0.5}).relative is relative


def test_the_window_is_never_shorter_than_half_a_minute() -> None:
    assert guardrail(max=0.1).seconds == MIN_WINDOW
    assert guardrail(max=0.1, **{"for": "10s"}).seconds == MIN_WINDOW
    assert guardrail(max=0.1, **{"for": "2m"}).seconds == 120.0


LATENCIES = {
    f"{what}_p{part}"
    for what in ("ttft", "inter_token", "request")
    for part in (50, 90, 95, 99)
}  # fmt: skip


@pytest.mark.parametrize("metric", list(Metric))
def test_a_metric_knows_whether_it_is_a_time_or_a_share(metric: Metric) -> None:
    assert metric.is_latency == (metric.value in LATENCIES)
    assert metric.is_share == (metric.value in {"error_rate", "timeout_rate", "availability"})


@pytest.mark.parametrize("metric", list(Metric))
def test_every_metric_but_throughput_has_evidence(metric: Metric) -> None:
    """Rates share that on errors, percentiles that on their whole distribution."""
    measure = metric.measure
    if metric is Metric.THROUGHPUT:
        assert measure is None
    else:
        assert measure is not None
        expected = "errors" if metric.is_share else metric.value
        assert expected.startswith(measure.value)


def test_the_defaults_can_roll_back_and_have_names_of_their_own() -> None:
    assert any(g.does is Action.ROLLBACK and not g.dry_run for g in DEFAULT_GUARDRAILS)
    assert len({g.name for g in DEFAULT_GUARDRAILS}) == len(DEFAULT_GUARDRAILS)


def test_a_guardrail_survives_being_written_as_json() -> None:
    for one in DEFAULT_GUARDRAILS:
        assert Guardrail.model_validate_json(one.model_dump_json()) == one
        assert Guardrail.model_validate_json(one.model_dump_json(by_alias=True)) == one
