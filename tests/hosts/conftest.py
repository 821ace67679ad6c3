"""Hosts of the lab are prepared while other tests run."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AHEAD = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to fetch what scenarios need, minutes the first time, after all that is more urgent.

    What goes wrong is said by the scenario, which waits for it and tries again.
    """
    without = os.environ.get("COALMINE_WITHOUT", "").split(",")
    wanted = {item.callspec.params["scenario"] for item in session.items
              if isinstance(item, pytest.Function) and item.path.name == "test_molecule.py"}
    if session.config.option.collectonly or "lab" in without or not wanted:
        return
    fetch = "bash scripts/lab-base"
    if "vllm" in wanted and "vllm" not in without:
        fetch += " && bash scripts/lab-vllm"
    # Within its session; the kernel weighs sessions against each other by another figure.
    last = "echo 19 2>/dev/null >/proc/self/autogroup"
    session.config.stash[AHEAD] = subprocess.Popen(
        ["nice", "-n", "19", "bash", "-c", f"{last}; {fetch}"], cwd=ROOT, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with the tests."""
    ahead = config.stash.get(AHEAD, None)
    if ahead is not None and ahead.poll() is None:
        os.killpg(ahead.pid, signal.SIGTERM)
        ahead.wait()
