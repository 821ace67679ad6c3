"""Runs of the scenarios in `molecule/`, each in a lab of its own, while other things are tested."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALL = ("rollback", "faults", "vllm", "default")
"""The longest first (docs/performance.md)."""
AT_ONCE = 2
"""Labs know nothing of each other, and much of a scenario is waiting."""

Done = subprocess.CompletedProcess[str]


def possible(without: str) -> set[str]:
    """Scenarios that a machine can run; `without` names what it lacks, as COALMINE_WITHOUT does."""
    lacks = set(without.split(","))
    return set() if "lab" in lacks else set(ALL) - lacks


def in_a_lab(scenario: str, *command: str) -> tuple[list[str], dict[str, str]]:
    """Return how to call something in a lab with the engines of a scenario, and in which
    environment."""
    return (["bash", "scripts/lab", "run", *command],
            {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
             "NO_COLOR": "1", "LAB_ENGINES": "vllm" if scenario == "vllm" else "sim"})


def molecule(scenario: str) -> tuple[list[str], dict[str, str]]:
    """Return how a scenario is called, and in which environment."""
    return in_a_lab(scenario, "molecule", "test", "--scenario-name", scenario)


class Scenarios:
    """The runs that have begun, in their order, `AT_ONCE` at a time."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._running: set[subprocess.Popen[str]] = set()
        self._runs: dict[str, Future[Done]] = {
            scenario: self._pool.submit(self._run, scenario) for scenario in wanted}

    def result(self, scenario: str) -> Done:
        """Wait for a scenario's end; KeyError for one that was not begun."""
        return self._runs[scenario].result()

    def end(self) -> None:
        """End what still runs, and begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in tuple(self._running):
            os.killpg(process.pid, signal.SIGTERM)
        self._pool.shutdown()

    def _run(self, scenario: str) -> Done:
        command, environment = molecule(scenario)
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
            self._running.add(process)
            said, _ = process.communicate()
            self._running.remove(process)
            return Done(command, process.returncode, said)
