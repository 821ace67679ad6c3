"""The scenarios in `molecule/`, on hosts of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(scenario: str, engines: str) -> None:
    """Run a scenario in a lab with such engines; it must reach its end."""
    if "lab" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names lab")
    binaries = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "scripts/lab", "run", "molecule", "test", "--scenario-name", scenario],
        cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1",
             "LAB_ENGINES": engines})
    assert done.returncode == 0, done.stdout[-6000:]
    assert "failed=0" in done.stdout


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scenario", ["default", "rollback", "faults"])
def test_a_scenario_runs_through(scenario: str) -> None:
    """From bare hosts to their end; what went wrong is at the end of what molecule prints."""
    run(scenario, "sim")


@pytest.mark.vllm
@pytest.mark.timeout(1500)
def test_real_vllm_servers_run_in_both_slots() -> None:
    """The same roles and units, a canary and the way back, and a crash."""
    if "vllm" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names vllm")
    run("vllm", "vllm")
