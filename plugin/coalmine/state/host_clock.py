"""The clock that all processes of one host share, which nobody can set.

Leases and beats in SQLite are measured by it. It starts anew at each boot, hence the boot's id:
what another boot wrote is over.
"""

from __future__ import annotations

import time
from pathlib import Path


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


BOOT = _boot_id()
"""Id of this boot; empty where the system tells none, and then the wall clock is used."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None) if BOOT else None


def host_seconds() -> float:
    """Return seconds that every process of this host counts alike, sleep included."""
    return time.time() if _CLOCK is None else time.clock_gettime(_CLOCK)


def age(boot: str, at: float) -> float | None:
    """Return how many seconds ago `at` was, None when it is of another boot or in the future."""
    seconds = host_seconds() - at
    return seconds if boot == BOOT and seconds >= 0 else None
