"""Action plugin: move a rollout. Its documentation is in ../library/coalmine_rollout.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# The package, beside the playbooks in a clone; an installed one goes before it.
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugin"))

SHOWN = ("phase", "stable", "candidate", "weight", "step", "epoch")
"""What of a service a difference shows."""


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """See ../library/coalmine_rollout.py."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        from coalmine.cli.fleet import ClientError, Fleet

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "urls": {"type": "list", "elements": "str", "required": True},
                "key": {"type": "str", "required": True, "no_log": True},
                "service": {"type": "str", "required": True},
                "state": {"type": "str", "required": True,
                          "choices": ["registered", "started", "paused", "resumed", "promoted"]},
                "release": {"type": "str"},
                "slot": {"type": "str", "choices": ["blue", "green"]},
                "digest": {"type": "str"},
                "full": {"type": "bool", "default": False},
                "reason": {"type": "str", "default": ""},
                "ca": {"type": "path"},
            },
            required_if=[("state", "started", ["release"]),
                         ("state", "registered", ["release", "slot"])])
        try:
            fleet = Fleet(arguments["urls"], arguments["key"], verify=arguments["ca"] or True)
            client, before = fleet.newest(arguments["service"])
            if _is_so(before, arguments):
                return result | {"changed": False, "service": before}
            if self._task.check_mode:
                return result | {"changed": True, "service": before}
            after = _command(client, arguments)
        except ClientError as error:
            raise AnsibleActionFail(f"{error.message}. {error.hint}".rstrip(". ")) from error
        return result | {"changed": bool(after.get("changed")), "service": after,
                         "diff": {"before": _shown(before), "after": _shown(after)}}


def _is_so(service: dict[str, Any], arguments: dict[str, Any]) -> bool:
    """Whether what is asked for is how it stands: a second run changes nothing."""
    phase, state = service["phase"], arguments["state"]
    if state == "registered":
        known: dict[str, Any] | None = service["releases"].get(arguments["release"])
        return known == {"slot": arguments["slot"], "digest": arguments["digest"]}
    if state == "started":
        return (phase in ("canary", "paused", "baking")
                and service["candidate"] == arguments["release"])
    return (state, phase) in (("paused", "paused"), ("resumed", "canary"), ("resumed", "baking"))


def _command(client: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    service, reason, state = arguments["service"], arguments["reason"], arguments["state"]
    done: dict[str, Any]
    if state == "registered":
        done = client.register(service, arguments["release"], arguments["slot"],
                               arguments["digest"])
    elif state == "started":
        done = client.start(service, arguments["release"], reason)
    elif state == "promoted":
        done = client.promote(service, arguments["full"], reason)
    else:
        done = (client.pause if state == "paused" else client.resume)(service, reason)
    return done


def _shown(service: dict[str, Any]) -> str:
    return "".join(f"{name}: {service.get(name)}\n" for name in SHOWN)
