"""The common yardstick: a judge as Kayenta's, on one point a minute of each metric.

Per metric the 98 % confidence interval of the shift between the arms (Mann-Whitney, Hodges and
Lehmann's estimate) is compared with 0.25 of the estimated shift; what lies beyond it on the bad
side fails. Kayenta judges once, at the end of an analysis; rollouts driven by it judge the newest
hour again and again, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from scipy.stats import mannwhitneyu

from benchmarks.verdicts.judge import Finding
from benchmarks.verdicts.minutes import Minute, MinuteJudge

OVER = 60
"""Minutes that it looks back."""
POINTS = 50
"""Points of each arm below which a metric is not judged."""
TAIL = 0.01
"""What the 98 % interval leaves out on one side."""
TOLERANCE = 0.25

METRICS: dict[str, tuple[Callable[[Minute], float | None], float]] = {
    "errors": (lambda minute: minute.failures / minute.attempts if minute.attempts else None, 1.0),
    "ttft": (lambda minute: fmean(minute.ttft) if minute.ttft else None, 1.0),
    "inter_token": (lambda minute: _mean(minute, "inter_token"), 1.0),
    "score": (lambda minute: _mean(minute, "score"), -1.0),
}
"""How a metric's point is read from a minute, and which way is bad."""


class Kayenta(MinuteJudge):
    """Rolls back as soon as one metric fails: all of them are critical."""

    name = "kayenta"

    def __init__(self) -> None:
        super().__init__(keep=OVER)

    def look(self, past: Sequence[tuple[Minute, Minute]]) -> Finding | None:
        """Judge the minutes of stable and of the candidate, the oldest first."""
        if len(past) < POINTS:
            return None
        for metric, (read, bad) in METRICS.items():
            control = [bad * x for stable, _ in past if (x := read(stable)) is not None]
            experiment = [bad * x for _, candidate in past if (x := read(candidate)) is not None]
            if min(len(control), len(experiment)) >= POINTS and _fails(control, experiment):
                return metric
        return None


def _fails(control: list[float], experiment: list[float]) -> bool:
    """Whether the lower end of the interval of the shift is above the tolerance: a test of the
    shifted points, turned round."""
    ours, theirs = np.asarray(experiment), np.asarray(control)
    shift = float(np.median(np.subtract.outer(ours, theirs)))
    if shift <= 0.0:
        return False
    test = mannwhitneyu(ours - TOLERANCE * shift, theirs, alternative="greater",
                        method="asymptotic")
    return bool(test.pvalue < TAIL)


def _mean(minute: Minute, measure: str) -> float | None:
    values = minute.measures[measure]
    return fmean(values) if values else None
