"""Action plugin: how a service stands. Its documentation is in ../library/coalmine_status.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# The package, beside the playbooks in a clone; an installed one goes before it.
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugin"))


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """See ../library/coalmine_status.py."""

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
            "ca": {"type": "path"},
        })
        try:
            fleet = Fleet(arguments["urls"], arguments["key"], verify=arguments["ca"] or True)
        except ClientError as error:
            raise AnsibleActionFail(f"{error.message}. {error.hint}") from error
        seen = fleet.look(arguments["service"])
        found = [one for one in seen.values() if isinstance(one, dict)]
        silent = {url: one.message for url, one in seen.items() if not isinstance(one, dict)}
        service = max(found, key=lambda one: one["epoch"], default=None)
        return result | {"changed": False, "service": service, "reached": len(found),
                         "silent": silent}
