"""Figures from runs: percentiles of the delay, shares with their intervals, efficiency."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.verdicts.cases import Case

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
Z = 1.959964
"""Of a 95 % interval."""


def figures(case: Case, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a case, which has a run at least, by judge.

    Efficiency is N* to the median: what the best test needs on the average, as a share of ours.
    """
    told: dict[str, Any] = {"title": case.title, "kind": case.kind, "runs": len(runs)}
    for key in ("goal", "stretch", "limit"):
        value = getattr(case, key)
        if value is not None:
            told[key] = round(value, 1)
    if case.limit is not None:
        told["limit_unit"] = case.unit
    names = dict.fromkeys(name for run in runs for name in run["found"])  # not all judge all runs
    told["judges"] = {
        name: _judge(case, [run["found"][name] for run in runs if name in run["found"]])
        for name in names}
    ours = told["judges"].get("coalmine")
    if ours and case.limit is not None and (median := ours[case.unit]["p50"]) is not None:
        told["efficiency"] = round(case.limit / median, 3)
    return told


def _judge(case: Case, found: list[dict[str, Any] | None]) -> dict[str, Any]:
    alarms = [one for one in found if one is not None]
    told: dict[str, Any] = {  # `early`: before the onset, so false ones
        "runs": len(found), **_share(len(alarms), len(found)),
        "why": dict(Counter(one["why"] for one in alarms).most_common()),
    }
    since = [one for one in found if one is None or one["seconds"] >= 0.0]
    told["early"] = len(found) - len(since)
    for unit in ("requests", "conversations", "seconds"):
        values = [math.inf if one is None else one[unit] for one in since]
        told[unit] = {name: percentile(values, share) for name, share in PERCENTILES.items()}
    return told


def _share(count: int, runs: int) -> dict[str, Any]:
    low, high = interval(count, runs)
    return {"alarms": count, "share": round(count / runs, 5), "low": round(low, 5),
            "high": round(high, 5)}


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the value at place ⌈share·n⌉ of the sorted ones, None where it was never reached."""
    ordered = sorted(values)
    value = ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf
    return value if math.isfinite(value) else None


def interval(count: int, runs: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, `count` of `runs`."""
    share, square = count / runs, Z * Z / runs
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / runs + square / (4 * runs)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def compared(cases: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the regressions, and then what is said of a healthy release in the same traffic."""
    found = [case for case in cases.values() if case["kind"] == "regression"]
    healthy = cases.get("aa-10")
    return [*found, {**healthy, "title": "nothing is wrong"}] if healthy else found


def pooled(cases: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return each judge's false alarms over all healthy cases together."""
    healthy = [case for case in cases if case["kind"] == "healthy"]
    runs = sum(case["runs"] for case in healthy)
    told: dict[str, Any] = {"runs": runs, "judges": {}}
    for name in (healthy[0]["judges"] if healthy else ()):
        judged = [case["judges"][name] for case in healthy]
        told["judges"][name] = _share(sum(one["alarms"] for one in judged),
                                      sum(one["runs"] for one in judged))
    return told
