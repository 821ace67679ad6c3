"""How long each scenario of ``molecule/`` takes, one after the other, in the lab (root).

What they bring is brought to bare hosts each time; a bare Debian, its packages and the wheels that
roles install are made before the first (``scripts/lab-base``, ``scripts/lab-vllm``).

    python -m benchmarks.scenarios [NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import machine, write_result

ROOT = Path(__file__).resolve().parents[1]
ALL = ("default", "rollback", "faults", "vllm")


def lab(scenario: str, *command: str) -> None:
    """Call something in a lab of its own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                   "LAB_ENGINES": "vllm" if scenario == "vllm" else "sim"}
    done = subprocess.run(["bash", "scripts/lab", "run", *command], cwd=ROOT, check=False,
                          text=True, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{scenario}: {done.stdout[-3000:]}")


def measure(scenario: str) -> float:
    """Return the seconds that a scenario takes.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    lab(scenario, "true")  # so that what it is made of is there
    began = time.monotonic()
    lab(scenario, "molecule", "test", "--scenario-name", scenario)
    return time.monotonic() - began


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], default=[])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds = {f"{name}_s": measure(name) for name in arguments.names or ALL}
    write_result("scenarios", seconds, machine(), arguments.json)


if __name__ == "__main__":
    main()
