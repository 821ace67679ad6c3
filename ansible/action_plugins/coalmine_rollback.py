"""Action plugin: back to stable on all gateways at once, waited for and proved.

Its documentation is in ../library/coalmine_rollback.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[1] / "plugin_utils"))

from coalmine_action import FleetAction


class ActionModule(FleetAction):
    """See ../library/coalmine_rollback.py."""

    OPTIONS: ClassVar = {
        "reason": {"type": "str", "default": "rollback.yml"},
        "to": {"type": "str"},
        "result": {"type": "path"},
    }

    def act(self, fleet: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """Go back; whether it is a failure the playbook says, when it has tried all it can."""
        if self._task.check_mode:
            return _foretold(fleet, arguments)
        recovery = fleet.rollback(arguments["service"], arguments["reason"], arguments["to"])
        document = recovery.to_document()
        told = recovery.sentence
        if arguments["result"]:
            told += _write(Path(arguments["result"]), document)
        return {"changed": recovery.changed, "recovery": document, "msg": told,
                "outcome": document["outcome"]}


def _write(path: Path, document: dict[str, Any]) -> str:
    """Write the result; what keeps it from being written is said, and hides no outcome."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        return f"; the result could not be written to {path}: {error.strerror}"
    return ""


def _foretold(fleet: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a run would do, for check mode."""
    seen = fleet.look(arguments["service"])
    told, changed = [], False
    for url, found in seen.items():
        if not isinstance(found, dict):
            told.append(f"{url}: {found.message}")
            continue
        back = arguments["to"] or (found["previous"] if found["phase"] == "idle"
                                   else found["stable"])
        moves = found["phase"] in ("canary", "paused", "baking") or (
            found["phase"] == "idle" and back not in (None, found["stable"]))
        changed = changed or moves
        told.append(f"{url}: {found['phase']}, would go to {back}" if moves
                    else f"{url}: {found['phase']} on {found['stable']}, nothing to do")
    return {"changed": changed, "msg": "; ".join(told), "outcome": "check"}
