"""The scenarios in `molecule/`, on hosts of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = os.environ.get("COALMINE_WITHOUT", "").split(",")
AT_ONCE = 2
"""Labs know nothing of each other, and much of a scenario is waiting."""

Done = subprocess.CompletedProcess[str]


def run(scenario: str) -> Done:
    """Run a scenario in a lab of its own."""
    binaries = Path(sys.executable).parent
    return subprocess.run(
        ["bash", "scripts/lab", "run", "molecule", "test", "--scenario-name", scenario],
        cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1",
             "LAB_ENGINES": "vllm" if scenario == "vllm" else "sim"})


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Done]]]:
    """All scenarios that were asked for, begun in their order."""
    wanted = [item.callspec.params["scenario"] for item in request.session.items
              if isinstance(item, pytest.Function) and item.path == request.path]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {scenario: pool.submit(run, scenario) for scenario in wanted
               if not {"lab", scenario} & set(WITHOUT)}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("scenario", [  # the longest first
    pytest.param("vllm", marks=pytest.mark.vllm), "faults", "rollback", "default"])
def test_a_scenario_runs_through(scenario: str, runs: dict[str, Future[Done]]) -> None:
    """From bare hosts to their end; what went wrong is at the end of what molecule prints."""
    if scenario not in runs:
        pytest.skip(f"COALMINE_WITHOUT names {', '.join(WITHOUT)}")
    done = runs[scenario].result()
    assert done.returncode == 0, done.stdout[-6000:]
    assert "failed=0" in done.stdout
