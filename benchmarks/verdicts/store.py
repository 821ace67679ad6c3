"""Finished runs, kept: a line of JSON for each, so that an interrupted benchmark goes on.

A run counts as long as what made it has not changed: its scenario and the code of the engine, the
generator and the judges. Comments and docstrings may change.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.verdicts.cases import Case

FOLDER = Path(__file__).parents[1] / "results" / "verdicts"
ROOTS = ("benchmarks.verdicts.panel", "benchmarks.verdicts.runs")
ROOMS = ("benchmarks.verdicts.", "coalmine.guardrails.", "coalmine.sim.")
DATA = "coalmine.sim.scenarios"
"""Not code: the scenario itself counts, and other ones do not."""


def code() -> str:
    """Return a digest of all code that a run depends on."""
    done: dict[str, str] = {}
    left = list(ROOTS)
    while left:
        name = left.pop()
        if name in done or name == DATA or not name.startswith(ROOMS):
            continue
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        tree = ast.parse(Path(spec.origin).read_text())
        left += [node.module for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom) and node.module]
        done[name] = ast.dump(_Undocumented().visit(tree))
    return _digest(done)


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


class _Undocumented(ast.NodeTransformer):
    """Takes all texts that stand for themselves out of a module: its docstrings."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


class Store:
    """The runs that are there, and a place for more.

    Args:
        folder: where the files are, one for each case.
        code: the digest of the code.
    """

    def __init__(self, folder: Path, code: str) -> None:
        self._folder = folder
        self._code = code

    def digest(self, case: Case) -> str:
        """Return what the runs of a case are made from."""
        scenario = {**asdict(case.scenario), "name": "", "about": "", "seed": 0}
        return _digest([self._code, case.kind, scenario])

    def runs(self, case: Case) -> dict[int, dict[str, Any]]:
        """Return the runs of a case that still count, by seed."""
        path, digest = self._path(case), self.digest(case)
        lines = path.read_text().splitlines() if path.exists() else []
        found = {}
        for line in lines:
            try:
                run = json.loads(line)
            except ValueError:
                continue  # cut off by an interruption
            if run["digest"] == digest:
                found[run["seed"]] = run
        return found

    def add(self, case: Case, seed: int, run: dict[str, Any]) -> None:
        """Keep a run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"seed": seed, "digest": self.digest(case), **run})
        with self._path(case).open("a") as file:
            file.write(line + "\n")

    def _path(self, case: Case) -> Path:
        return self._folder / f"{case.name}.jsonl"
