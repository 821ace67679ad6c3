"""How long each scenario of ``molecule/`` takes, one after the other, in the lab (root).

What they bring is brought to bare hosts each time; a bare Debian, its packages and the wheels that
roles install are made before the first (``scripts/lab-base``, ``scripts/lab-vllm``).

    python -m benchmarks.scenarios [NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from tests.hosts.scenarios import ALL, ROOT, in_a_lab, molecule

from benchmarks.machine import machine, write_result


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    """Call something and return its seconds.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-3000:]}")
    return time.monotonic() - began


def measure(scenario: str) -> float:
    """Return the seconds that a scenario takes; RuntimeError as of :func:`seconds_of`."""
    seconds_of(*in_a_lab(scenario, "true"))  # so that what it is made of is there
    return seconds_of(*molecule(scenario))


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
