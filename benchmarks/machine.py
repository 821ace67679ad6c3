"""Where a figure comes from, and how it is written down."""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Return what a reader needs to know of the machine and the versions."""
    versions = {}
    for name in ("litellm", "redis", "pydantic", "coalmine"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median and percentiles of a list of measurements."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    return {"n": len(ordered), "mean": statistics.fmean(ordered), "p50": at(0.5), "p90": at(0.9),
            "p99": at(0.99), "max": ordered[-1]}


def write_result(name: str, figures: dict[str, Any], where: dict[str, Any],
                 path: Path | None) -> None:
    """Print a benchmark's result and, if asked, keep it as JSON."""
    document = {
        "benchmark": name,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": where,
        "figures": figures,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
