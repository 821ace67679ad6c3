"""The scenarios in `molecule/`, on hosts of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scenario", ["default", "rollback", "faults"])
def test_a_scenario_runs_through(scenario: str) -> None:
    """From bare hosts to their end; what went wrong is at the end of what molecule prints."""
    if "lab" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names lab")
    binaries = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "scripts/lab", "run", "molecule", "test", "--scenario-name", scenario],
        cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout[-6000:]
    assert "failed=0" in done.stdout
