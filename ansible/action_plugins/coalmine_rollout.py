"""Action plugin: move a rollout. Its documentation is in ../library/coalmine_rollout.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[1] / "plugin_utils"))

from coalmine_action import FleetAction

SHOWN = ("phase", "stable", "candidate", "weight", "step", "epoch")
"""What of a service a difference shows."""


class ActionModule(FleetAction):
    """See ../library/coalmine_rollout.py."""

    OPTIONS: ClassVar = {
        "state": {"type": "str", "required": True,
                  "choices": ["registered", "started", "paused", "resumed", "promoted"]},
        "release": {"type": "str"},
        "slot": {"type": "str", "choices": ["blue", "green"]},
        "digest": {"type": "str"},
        "full": {"type": "bool", "default": False},
        "reason": {"type": "str", "default": ""},
    }
    REQUIRED_IF: ClassVar = [("state", "started", ["release"]),
                             ("state", "registered", ["release", "slot"])]

    def act(self, fleet: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """Move it, unless it is so already."""
        client, before = fleet.newest(arguments["service"])
        if _is_so(before, arguments):
            return {"changed": False, "service": before}
        if self._task.check_mode:
            return {"changed": True, "service": before}
        after = _command(client, arguments)
        return {"changed": bool(after.get("changed")), "service": after,
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
