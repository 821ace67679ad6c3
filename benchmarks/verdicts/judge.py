"""What all judges have in common."""

from __future__ import annotations

from typing import Protocol

from coalmine.sim.scenarios import Event

Finding = str
"""Why a judge would roll back (or promote), in a few words."""


class Judge(Protocol):
    """Sees every event of a run, in order, until it has found something."""

    name: str

    def take(self, event: Event) -> Finding | None:
        """Return what was found, None while there is nothing."""
