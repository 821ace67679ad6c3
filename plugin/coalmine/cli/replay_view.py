"""A replay in lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coalmine.cli.text import one_line
from coalmine.record.events import REASONS
from coalmine.record.replay import Decision, Moment


def moment_line(moment: Moment, began: float) -> str:
    """Return what happened, when since the beginning, and why."""
    return (f"{_clock(moment.at - began)}  {moment.what:<9} {moment.weight:>5g} %  "
            f"{one_line(moment.reason, limit=2000)}")


def finding_lines(moment: Moment) -> list[str]:
    """Return what each guardrail says at the end, a line each."""
    findings = moment.verdict.findings if moment.verdict is not None else ()
    return [f"{'':13}{one_line(finding.sentence, limit=2000)}" for finding in findings]


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


def why_none(strangers: Mapping[str, str], releases: Sequence[str], stable: str) -> str:
    """Return what to do when nothing could be judged.

    Args:
        strangers: releases that the policy does not name, and their arms.
        releases: those that it names; stable: which of them is stable.
    """
    if not strangers:
        return "see docs/replay.md for the format; what was left out stands above"
    was = next((name for name, arm in strangers.items() if arm == "stable"), None)
    if was in releases:
        return (f"{was} was stable when they were recorded, and the policy says {stable}: replay"
                f" with a copy that says stable: {was}")
    theirs = ", ".join(f"{name} ({arm})" for name, arm in strangers.items())
    return (f"the events name the releases {theirs}, the policy {', '.join(releases)} (stable: "
            f"{stable}): give the policy those names")
