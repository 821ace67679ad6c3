"""All benchmarks, one after the other: ``make bench`` (ARGS names some of them).

Each writes ``benchmarks/results/NAME.json``; then ``docs/performance.md`` and the figures of
``docs/verdicts.md`` are written from all results that are there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.verdicts import page

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ALL = ("hooks", "cost", "flip", "decision", "judging", "state")
ONLY_BY_NAME = ("hosts", "scenarios", "verdicts")
"""What needs root, and what takes hours."""


def main() -> int:
    """Run what was asked for, each in a process of its own; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, *ONLY_BY_NAME, []], default=[])
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    failed = []
    for name in arguments.names or ALL:
        print(f"— {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json",
                   str(RESULTS / f"{name}.json")]
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode != 0:
            failed.append(name)
    (HERE.parent / "docs" / "performance.md").write_text(report.render(RESULTS))
    if page.RESULT.exists():
        page.write()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
