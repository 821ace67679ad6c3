"""Action plugin: back to stable on all gateways at once, waited for and proved.

Runs on the controller, in Ansible's own process: a task of it costs some 70 ms (measured), where a
module would cost 0.4 s. Its documentation is in ../library/coalmine_rollback.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# The package, beside the playbooks in a clone; an installed one goes before it.
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugin"))


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """See ../library/coalmine_rollback.py."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        from coalmine.cli.fleet import ClientError, Fleet

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={
            "urls": {"type": "list", "elements": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "service": {"type": "str", "required": True},
            "reason": {"type": "str", "default": "rollback.yml"},
            "to": {"type": "str"},
            "ca": {"type": "path"},
            "result": {"type": "path"},
        })
        try:
            fleet = Fleet(arguments["urls"], arguments["key"], verify=arguments["ca"] or True)
        except ClientError as error:
            raise AnsibleActionFail(f"{error.message}. {error.hint}") from error
        if self._task.check_mode:
            return result | _foretold(fleet, arguments)
        recovery = fleet.rollback(arguments["service"], arguments["reason"], arguments["to"])
        document = recovery.to_document()
        if arguments["result"]:
            Path(arguments["result"]).write_text(json.dumps(document, indent=2) + "\n",
                                                 encoding="utf-8")
        result |= {"changed": recovery.changed, "recovery": document, "msg": recovery.sentence,
                   # Whether it is a failure the playbook says, when it has tried all it can.
                   "outcome": document["outcome"]}
        return result


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
