"""Totals: what attempts add to a gateway's counters.

A series is one string, the metric and its labels joined by a character that no name has, so that
any store can keep totals as plain name → number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails.attempt import FAILURES

SEPARATOR = "\x1f"

LABELS: dict[str, tuple[str, ...]] = {
    "coalmine_attempts_total": ("service", "release", "arm", "deployment", "outcome"),
    "coalmine_cached_total": ("service", "release"),
    "coalmine_rescued_total": ("service", "release"),
    "coalmine_conversations_total": ("service", "release", "arm", "basis"),
    "coalmine_unrecognised_total": ("service", "reason"),
    "coalmine_moves_total": ("service", "reason"),
    "coalmine_rollbacks_total": ("service", "trigger"),
    "coalmine_faults_total": ("kind",),
    "coalmine_dropped_total": ("reason",),
}
"""Counters and their labels."""

_PLACE = ("service", "release", "arm", "deployment")

HISTOGRAMS: dict[str, tuple[str, ...]] = {
    "coalmine_ttft_seconds": _PLACE,
    "coalmine_inter_token_seconds": _PLACE,
    "coalmine_request_seconds": _PLACE,
}
"""Histograms and their labels: one for each deployment of the config and release that it held."""

HELP: dict[str, str] = {
    "coalmine_attempts_total": "Attempts that ended, each counted once.",
    "coalmine_cached_total": "Requests answered from LiteLLM's cache; no attempts.",
    "coalmine_rescued_total": "Requests that the candidate failed and stable answered.",
    "coalmine_conversations_total": "Conversations given to an arm, by how they were recognised.",
    "coalmine_unrecognised_total": "Requests whose conversation could not be recognised.",
    "coalmine_moves_total": "Conversations that changed release.",
    "coalmine_rollbacks_total": "Rollbacks.",
    "coalmine_faults_total": "Faults of Coalmine's own; each served stable.",
    "coalmine_dropped_total": "Attempts that could not be counted, or not be recorded (record),"
                              " and pins that could not be kept (pin).",
    "coalmine_ttft_seconds": "Seconds to the first content.",
    "coalmine_inter_token_seconds": "Mean seconds between contents of one answer.",
    "coalmine_request_seconds": "Seconds of a whole attempt.",
}

BOUNDS: dict[str, tuple[float, ...]] = {
    "coalmine_ttft_seconds": (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    "coalmine_inter_token_seconds": (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
    "coalmine_request_seconds": (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
}
"""Upper bounds of the Prometheus buckets, seconds."""


def series(metric: str, *labels: str) -> str:
    """Return the name of a series."""
    return SEPARATOR.join((metric, *labels))


def _observe(into: dict[str, float], metric: str, labels: tuple[str, ...], value: float) -> None:
    bounds = BOUNDS[metric]
    at = bisect_left(bounds, value)
    bound = f"{bounds[at]:g}" if at < len(bounds) else "+Inf"
    for name, added in (("bucket" + SEPARATOR + bound, 1.0), ("sum", value), ("count", 1.0)):
        full = series(metric, *labels, name)
        into[full] = into.get(full, 0.0) + added


def totals_of(attempts: Iterable[Attempt]) -> dict[str, float]:
    """Return what `attempts` add to the totals."""
    added: dict[str, float] = {}
    for attempt in attempts:
        if attempt.outcome is Outcome.DOWN or attempt.outcome is Outcome.WAITING:
            continue  # neither is an attempt that ended
        arm = attempt.arm.value if attempt.arm else ""
        name = series("coalmine_attempts_total", attempt.service, attempt.release, arm,
                      attempt.deployment, attempt.outcome.value)
        added[name] = added.get(name, 0.0) + 1
        if attempt.outcome is Outcome.OK:
            labels = (attempt.service, attempt.release, arm, attempt.deployment)
            if attempt.ttft is not None:
                _observe(added, "coalmine_ttft_seconds", labels, attempt.ttft)
            if attempt.inter_token is not None:
                _observe(added, "coalmine_inter_token_seconds", labels, attempt.inter_token)
            _observe(added, "coalmine_request_seconds", labels, attempt.seconds)
    return added


def parts_of(full: str) -> tuple[str, tuple[str, ...], str] | None:
    """Return metric, labels and what of them a series of a histogram holds; None for any other.

    Also None for what an older version kept, with other labels.
    """
    name, *values = full.split(SEPARATOR)
    count = len(HISTOGRAMS.get(name, ()))
    if not count or len(values) <= count:
        return None
    part = SEPARATOR.join(values[count:])
    whole = len(values) == count + 1 and part in ("sum", "count")
    bucket = len(values) == count + 2 and values[count] == "bucket"
    return (name, tuple(values[:count]), part) if whole or bucket else None


def by_deployment(totals: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the figures of each deployment as the API shows them, sorted by its labels."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for full, value in totals.items():
        name, *values = full.split(SEPARATOR)
        if name == "coalmine_attempts_total" and len(values) == len(LABELS[name]):
            outcome = values.pop()
            held = found.setdefault(tuple(values), {})
            held[outcome] = held.get(outcome, 0.0) + value
        elif (parts := parts_of(full)) is not None:
            found.setdefault(parts[1], {})[f"{name} {parts[2]}"] = value
    failed = {outcome.value for outcome in FAILURES}
    documents = []
    for (service, release, arm, deployment), held in sorted(found.items()):
        failures = sum(held.get(outcome, 0.0) for outcome in failed)
        documents.append({
            "service": service, "deployment": deployment, "release": release, "arm": arm,
            "attempts": int(held.get(Outcome.OK.value, 0.0) + failures), "failures": int(failures),
            "ttft": _mean(held, "coalmine_ttft_seconds"),
            "request": _mean(held, "coalmine_request_seconds"),
        })
    return documents


def _mean(held: Mapping[str, float], metric: str) -> float | None:
    count = held.get(f"{metric} count", 0.0)
    return held.get(f"{metric} sum", 0.0) / count if count else None
