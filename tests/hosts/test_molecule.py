"""The scenarios in `molecule/`, on hosts of the lab."""

from __future__ import annotations

import os

import pytest

from .scenarios import ALL, Scenarios, possible

WITHOUT = os.environ.get("COALMINE_WITHOUT", "")


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("scenario", [
    pytest.param(name, marks=[pytest.mark.vllm] * (name == "vllm") + [
        pytest.mark.skipif(name not in possible(WITHOUT), reason=f"COALMINE_WITHOUT={WITHOUT}")])
    for name in ALL])
def test_a_scenario_runs_through(scenario: str, scenarios: Scenarios) -> None:
    """From bare hosts to their end; what went wrong is at the end of what molecule prints."""
    done = scenarios.result(scenario)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "failed=0" in done.stdout
