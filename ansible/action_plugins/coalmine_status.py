"""Action plugin: how a service stands. Its documentation is in ../library/coalmine_status.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "plugin_utils"))

from coalmine_action import FleetAction


class ActionModule(FleetAction):
    """See ../library/coalmine_status.py."""

    def act(self, fleet: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """Ask all gateways."""
        seen = fleet.look(arguments["service"])
        found = [one for one in seen.values() if isinstance(one, dict)]
        silent = {url: one.message for url, one in seen.items() if not isinstance(one, dict)}
        service = max(found, key=lambda one: one["epoch"], default=None)
        return {"changed": False, "service": service, "reached": len(found), "silent": silent}
