"""How the policy file stands, in words: for status, for refusals, for the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from coalmine.control.moments import moment

SHOWN = 20
"""Errors of the file that are told; `coalmine lint` tells all of them."""


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """How the policy file stands.

    Attributes:
        status: ``ok``, also where nobody wrote one; ``error``; ``restart_needed`` when one was
            written after a start without.
        file: its name.
        errors: all that is wrong with it, a line each.
        since: unix time since which that is so.
        in_force: whether a policy is in force, which with errors is the last good one.
    """

    status: Literal["ok", "error", "restart_needed"] = "ok"
    file: str = ""
    errors: tuple[str, ...] = ()
    since: float | None = None
    in_force: bool = True

    @property
    def blocks(self) -> bool:
        """Whether nothing can be started, because what was written cannot be used."""
        return self.status == "error" and not self.in_force

    @property
    def said(self) -> str:
        """How many errors it has."""
        count = len(self.errors)
        return f"the policy {self.file} has {count} error{'s' * (count != 1)}"

    @property
    def message(self) -> str:
        """What is wrong, in one sentence; empty when nothing is."""
        if self.status == "ok":
            return ""
        if self.status == "restart_needed":
            return f"the policy {self.file} came after the start and is not in force"
        if self.in_force:
            return f"{self.said}; the last good one is in force"
        return f"{self.said} and is not in force: stable is served, nothing can be started"

    @property
    def hint(self) -> str:
        """What to do about it; empty when nothing is to be done."""
        if self.status == "ok":
            return ""
        if self.status == "restart_needed":
            return f"run `coalmine lint {self.file}`, then restart the proxy"
        return f"mend it: `coalmine lint {self.file}` names every error"

    @property
    def first(self) -> str:
        """The first error in brackets, empty without one."""
        return f" (first: {self.errors[0]})" if self.errors else ""

    def document(self) -> dict[str, Any] | None:
        """Return it as the API shows it; None when there is nothing to tell."""
        if self.status == "ok":
            return None
        return {
            "status": self.status, "file": self.file, "in_force": self.in_force,
            "since": moment(self.since), "count": len(self.errors),
            "errors": list(self.errors[:SHOWN]), "message": self.message, "hint": self.hint,
        }
