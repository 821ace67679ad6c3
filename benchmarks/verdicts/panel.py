"""Who judges a case."""

from __future__ import annotations

from benchmarks.verdicts.judge import Judge
from benchmarks.verdicts.kayenta import Kayenta
from benchmarks.verdicts.ours import Alarm, Promotion
from benchmarks.verdicts.static import Static
from coalmine.sim.scenarios import Scenario

LEAST = 30
"""Conversations of the candidate that a careful static rule waits for."""


OTHERS = 100
"""Runs of each case that the other judges see: they take most of the time."""


def panel(kind: str, scenario: Scenario) -> list[Judge]:
    """Return the judges of a run of a kind of case."""
    if kind in ("promotion", "margin"):
        return [Promotion(scenario.seconds)]
    if kind == "late" or scenario.seed > OTHERS:
        return [Alarm(scenario.seconds)]
    return [Alarm(scenario.seconds), Static("static", LEAST), Static("static-bare", 1), Kayenta()]
