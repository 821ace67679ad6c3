"""How far a long benchmark is: one line on stderr."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

EVERY = 10.0
"""Seconds between two lines where they cannot be written over."""


@dataclass
class _Part:
    expected: int
    done: int
    cpu: float


class Progress:
    """Counts runs, and tells how long it will go on, by what those that are done took.

    Args:
        jobs: how many runs go on at the same time.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._parts: dict[str, _Part] = {}
        self._told = -EVERY

    def expect(self, name: str, runs: int, known: list[float]) -> None:
        """There will be so many runs of a case; those that are done took so many CPU seconds."""
        self._parts[name] = _Part(runs, len(known), sum(known))

    def done(self, name: str, cpu: float) -> None:
        """One more is done."""
        part = self._parts[name]
        part.done += 1
        part.cpu += cpu
        live = sys.stderr.isatty()
        if live or time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            print(f"\r{self.line(name):78}" if live else self.line(name),
                  end="" if live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """All is done."""
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def line(self, name: str) -> str:
        """Return how far it is, now that a run of `name` is done."""
        part = self._parts[name]
        done = sum(each.done for each in self._parts.values())
        expected = sum(each.expected for each in self._parts.values())
        return (f"verdicts: {done}/{expected}, now {name} {part.done}/{part.expected}, "
                f"{self._left() / 60:.0f} min left")

    def _left(self) -> float:
        """Seconds; a case of which no run is done yet costs what all did on the average."""
        parts = self._parts.values()
        usual = sum(each.cpu for each in parts) / max(1, sum(each.done for each in parts))
        return sum((each.expected - each.done) * (each.cpu / each.done if each.done else usual)
                   for each in parts) / self._jobs
