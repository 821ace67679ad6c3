"""The cases: one row of the table each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from coalmine.sim.scenarios import Scenario, named

ALPHA = 0.001
"""Chance of a false alarm that a detector may take, for all time."""


@dataclass(frozen=True)
class Case:
    """What is simulated, how often, and what it should come to.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in the table.
        scenario: the traffic; its seed is the run's.
        runs: how many make the figure.
        kind: ``regression`` (how fast is it seen?), ``late`` (and when it begins late?),
            ``healthy`` (is it ever taken for bad?), ``promotion`` (how fast is it known to be
            good?) or ``margin`` (is what is just too bad ever taken for good?).
        limit: of a regression, the candidate requests or conversations (`unit`) that no test with
            this α can undercut on the average, ln(1/α) / I.
        goal: what the median should be at most: candidate requests, of a promotion minutes.
        stretch: what it would better be, in `unit`; None where nothing is asked.
    """

    name: str
    title: str
    scenario: Scenario
    runs: int
    kind: str = "regression"
    limit: float | None = None
    unit: str = "requests"
    goal: float | None = None
    stretch: float | None = None


def limit(scenario: Scenario) -> float:
    """Return N* of a scenario of errors, in candidate requests.

    I = KL(p_c ‖ q₀) + ((1 − w)/w)·KL(p_b ‖ q₀) with q₀ = w·p_c + (1 − w)·p_b, w being the
    candidate's share, p_b and p_c the error rates of stable and of the candidate.
    """
    share, stable, candidate = scenario.weight / 100.0, scenario.errors, scenario.size
    mixed = share * candidate + (1.0 - share) * stable
    information = _kl(candidate, mixed) + (1.0 - share) / share * _kl(stable, mixed)
    return math.log(1.0 / ALPHA) / information


def _kl(p: float, q: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((p, q), (1.0 - p, 1.0 - q)) if a > 0.0)


HOURS = 6 * 3600.0
"""Healthy seconds before a late regression, and seconds that a release at the margin is tried."""

_DEAD, _ERRORS, _RARE = named("dead"), named("errors"), named("errors-rare")

CASES = {case.name: case for case in (
    Case("dead", "every request fails", _DEAD, 400, limit=limit(_DEAD), goal=4, stretch=3),
    Case("errors", "errors 1 → 5 %", _ERRORS, 400, limit=limit(_ERRORS), goal=265, stretch=230),
    Case("errors-rare", "errors 0.2 → 0.4 %", _RARE, 200, limit=limit(_RARE), goal=11_000),
    Case("ttft", "TTFT × 1.3", named("ttft"), 400, limit=136, unit="conversations", goal=1085,
         stretch=700),
    Case("tail", "p99 × 2 (slowest 4 % doubled)", named("tail"), 400, limit=290, goal=750,
         stretch=400),
    Case("slow", "5 % of requests ten times slower", named("slow"), 400, limit=149, goal=240,
         stretch=165),
    Case("score", "score 0.90 → 0.85", named("score"), 400, limit=60, unit="conversations",
         goal=288, stretch=60),
    Case("late-errors", "errors 1 → 5 %", named("errors", onset=HOURS), 100, kind="late"),
    Case("late-ttft", "TTFT × 1.3", named("ttft", onset=HOURS), 100, kind="late"),
    Case("late-score", "score 0.90 → 0.85", named("score", onset=HOURS), 100, kind="late"),
    Case("promotion", "healthy release promotable", named("healthy", answers=False), 200,
         kind="promotion", goal=55),
    Case("margin-errors", "errors × 2", named("errors", size=0.02, seconds=HOURS), 100,
         kind="margin"),
    Case("margin-ttft", "TTFT × 1.3", named("ttft", size=1.3, seconds=HOURS), 100, kind="margin"),
    Case("margin-score", "score − 0.05", named("score", size=0.05, seconds=HOURS), 100,
         kind="margin"),
    Case("aa-1", "1", named("healthy", rate=1.0), 1000, kind="healthy"),
    Case("aa-10", "10", named("healthy", rate=10.0), 250, kind="healthy"),
    Case("aa-100", "100", named("healthy", rate=100.0), 10, kind="healthy"),
)}
"""All of them, in the order of the table."""
