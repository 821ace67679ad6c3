"""The verdict engine sees regressions as fast as it did, and none where there is none.

A short version of ``python -m benchmarks.verdicts`` with fixed seeds. What is recorded is exact for
these seeds and says little of others: the benchmark's own figures stand in ``docs/verdicts.md``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median_low

import pytest
from benchmarks.verdicts.cases import CASES
from benchmarks.verdicts.ours import Alarm, Promotion
from benchmarks.verdicts.runs import watch

RECORDED = json.loads((Path(__file__).parent / "detection.json").read_text())
SEEDS = range(1, RECORDED["seeds"] + 1)
SLACK = 1.1


def delays(name: str) -> list[float]:
    """Candidate requests until the alarm, or minutes until the promotion, for each seed."""
    case, found = CASES[name], []
    for seed in SEEDS:
        scenario = replace(case.scenario, seed=seed)
        judge = (Promotion if case.kind == "promotion" else Alarm)(scenario.seconds)
        told = watch(scenario, [judge])["found"][judge.name]
        assert told is not None, f"{name}, seed {seed}: nothing was found"
        found.append(told["seconds"] / 60 if case.kind == "promotion" else told["requests"])
    return found


@pytest.mark.parametrize("name", list(RECORDED["medians"]))
def test_it_takes_no_longer_than_it_did(name):
    """The median is at most a tenth above what is recorded; what became faster is recorded anew."""
    assert median_low(delays(name)) <= SLACK * RECORDED["medians"][name]


@pytest.mark.parametrize("seed", range(1, RECORDED["healthy_days"] + 1))
def test_a_healthy_day_raises_no_alarm(seed):
    """At a request a second, with all measures, swing and incidents."""
    scenario = replace(CASES["aa-1"].scenario, seed=seed)
    assert watch(scenario, [Alarm(scenario.seconds)])["found"] == {"coalmine": None}
