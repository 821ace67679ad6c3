"""What the action plugins have in common: options, the client, and where they run.

They run on the controller, in Ansible's own process: a task costs some 70 ms (measured), where a
module would cost 0.4 s.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# The package, beside the playbooks in a clone; an installed one goes before it.
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugin"))

from coalmine.cli.fleet import ClientError, Fleet

COMMON: dict[str, dict[str, Any]] = {
    "urls": {"type": "list", "elements": "str", "required": True},
    "key": {"type": "str", "required": True, "no_log": True},
    "service": {"type": "str", "required": True},
    "ca": {"type": "path"},
}
"""The options that all have; ../doc_fragments/coalmine_gateways.py says what they are."""


class FleetAction(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """An action that speaks to all gateways; what one of them says no to fails it."""

    TRANSFERS_FILES = False
    _requires_connection = False

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {}
    """More options, as an argument spec."""
    REQUIRED_IF: ClassVar[list[tuple[str, str, list[str]]]] = []

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={**COMMON, **self.OPTIONS},
                                                   required_if=self.REQUIRED_IF)
        try:
            fleet = Fleet(arguments["urls"], arguments["key"], verify=arguments["ca"] or True)
            return result | self.act(fleet, arguments)
        except ClientError as error:
            raise AnsibleActionFail(f"{error.message}. {error.hint}".rstrip(". ")) from error

    @abstractmethod
    def act(self, fleet: Fleet, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it, and return the task's result."""
