"""The log of changes as people read it: when, who, what, and below it why."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from coalmine.cli.client import Json
from coalmine.cli.figures import moment, percent, stamp
from coalmine.cli.text import one_line
from coalmine.cli.view import table_of
from coalmine.cli.words import word


def history(entries: list[Json]) -> RenderableType:
    """Return the log as a table, the newest last."""
    if not entries:
        return Text("no changes yet")
    # Three columns, as the last needs the room: names of guardrails are long, and so are reasons.
    table: Table = table_of("at (UTC)", "action", "who, what, and why")
    for entry in newest_last(entries):
        what = _change(entry.get("before"), entry.get("after"))
        why = one_line(entry.get("reason") or "")
        told = word(entry, "who") + (f": {what}" if what else "") + (f"\n{why}" if why else "")
        table.add_row(stamp(entry.get("at")), Text(word(entry, "action"), style="bold"), Text(told))
    return table


def newest_last(entries: list[Json]) -> list[Json]:
    """Return log entries by their moment; what has none stays in front."""
    def when(entry: Json) -> float:
        at = moment(entry.get("at"))
        return at.timestamp() if at else 0.0

    return sorted(entries, key=when)


def _change(before: Any, after: Any) -> str:
    """Return a change as ``canary 1 % → canary 10 %``; what did not change of it is left out."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return " → ".join(one_line(value) for value in (before, after) if value)
    moved = before.get("stable") != after.get("stable")
    parts = [_state(value, stable=moved) for value in (before, after)]
    return " → ".join(part for part in dict.fromkeys(parts) if part)


def _state(value: Json, *, stable: bool) -> str:
    """Return a state before or after a change; nothing for the one before the first."""
    told = [word(value, "phase")] if value.get("phase") else []
    if value.get("weight") or value.get("phase") in ("canary", "paused", "baking"):
        told.append(percent(value.get("weight")))
    if stable and value.get("stable"):
        told.append(f"on {word(value, 'stable')}")
    return " ".join(told)
