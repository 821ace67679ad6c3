"""How fast the verdict engine sees a regression, and how often it rolls a healthy release back.

Simulated canaries (`coalmine simulate`), the same events for three judges: the engine, static rules
(with a minimum of conversations and without) and a judge as Kayenta's. Every finished run is kept
in ``benchmarks/results/verdicts/``, so an interrupted benchmark goes on where it was. All of it
takes an hour or two on two cores, nearly all of them for the healthy days.

    python -m benchmarks.verdicts [NAME …] [--first N] [--runs N] [--jobs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, write_result
from benchmarks.verdicts.cases import CASES
from benchmarks.verdicts.figures import figures, pooled
from benchmarks.verdicts.panel import panel
from benchmarks.verdicts.progress import Progress
from benchmarks.verdicts.runs import watch
from benchmarks.verdicts.store import FOLDER, Store, code

Task = tuple[str, int]
"""Name of the case and seed."""


def one(task: Task) -> tuple[Task, dict[str, Any]]:
    """Do one run, in a process of its own."""
    case = CASES[task[0]]
    scenario = replace(case.scenario, seed=task[1])
    return task, watch(scenario, panel(case.kind, scenario))


def simulate(store: Store, names: list[str], first: int, runs: int | None, jobs: int) -> None:
    """Do all runs that are not there yet, from the seed `first` on."""
    progress = Progress(jobs)
    left: list[Task] = []
    for name in names:
        known = store.runs(CASES[name])
        wanted = range(first, (runs or CASES[name].runs) + 1)
        progress.expect(name, len(wanted), [known[seed]["cpu"] for seed in wanted if seed in known])
        left += [(name, seed) for seed in wanted if seed not in known]
    with multiprocessing.Pool(jobs) as pool:
        for (name, seed), run in pool.imap_unordered(one, left):
            store.add(CASES[name], seed, run)
            progress.done(name, run["cpu"])
    progress.end()


def summary(store: Store) -> dict[str, Any]:
    """Return the figures of all runs that are there."""
    known = {name: list(store.runs(case).values()) for name, case in CASES.items()}
    cases = {name: figures(CASES[name], runs) for name, runs in known.items() if runs}
    return {"cases": cases, "healthy": pooled(cases.values())}


def main() -> int:
    """Simulate what is asked for, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--runs", type=int, help="of each case, up to the seed N")
    parser.add_argument("--first", type=int, default=1,
                        help="the seed to begin with; so several machines can share the work")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    store = Store(FOLDER, code())
    try:
        simulate(store, arguments.names or list(CASES), arguments.first, arguments.runs,
                 arguments.jobs)
    except KeyboardInterrupt:
        print("\nverdicts: interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    write_result("verdicts", summary(store), machine(), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
