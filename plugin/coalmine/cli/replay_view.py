"""A replay in lines for people."""

from __future__ import annotations

from collections.abc import Mapping

from coalmine.cli.text import one_line
from coalmine.record.events import REASONS
from coalmine.record.replay import Decision, Moment


def moment_line(moment: Moment, began: float) -> str:
    """Return what happened, when since the beginning, and why."""
    return (f"{_clock(moment.at - began)}  {moment.what:<9} {moment.weight:>5g} %  "
            f"{one_line(moment.reason, limit=2000)}")


def _clock(seconds: float) -> str:
    """Return a time since the beginning as days and 23:59:59."""
    days, rest = divmod(max(0, int(seconds)), 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {clock}" if days else f"   {clock}"


def faults_line(faults: Mapping[str, int]) -> str:
    """Return which events were left out, or had something left out, and why."""
    told = "; ".join(f"{count} {reason} ({REASONS[reason]})"
                     for reason, count in sorted(faults.items()))
    return f"left out: {told}"


def result_line(found: Decision) -> str:
    """Return the first decision in words."""
    seen = f"{found.conversations} conversations and {found.attempts} attempts of the candidate"
    if found.at is None:
        return f"no decision in {seen}"
    by = f" by {found.guardrail}" if found.guardrail else ""
    return f"first decision: {found.decision}{by}, after {seen}"
