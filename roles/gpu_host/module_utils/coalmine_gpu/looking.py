"""A look at the host: all of it, or only whether its driver is in use."""

from __future__ import annotations

from typing import Any

from .asking import ask_driver
from .findings import Unusable
from .host import Host
from .judging import judge
from .versions import upstream
from .wanted import Wanted


def look_at_driver(host: Host, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say whether the driver that was installed is in use, and whether a reboot is due."""
    want, package = upstream(arguments["driver_version"]), arguments["driver_package"]
    try:
        driver, _, _ = ask_driver(host, arguments["nvidia_smi"])
        instead = f"{driver} is in use"
    except Unusable as problem:
        driver, instead = None, problem.finding.what.rstrip(".")
    loaded = host.loaded()
    in_use = driver == want and loaded in {None, want}
    due = not in_use and host.installed_since_boot(package)
    if in_use:
        msg = f"Driver {want} is in use."
    elif due:
        msg = (f"{package} {arguments['driver_version']} was installed since the last boot, and is "
               f"not in use: {instead}. The host must be rebooted.")
    else:
        msg = f"{package} {arguments['driver_version']} is not in use: {instead}."
    return {"msg": msg, "driver_loaded": in_use, "reboot_needed": due}


def look(host: Host, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say what is here, and what speaks against it."""
    wanted = Wanted(
        gpus=arguments["gpus"], driver_minimum=arguments["driver_minimum"],
        driver_version=arguments["driver_version"], free_mib=arguments["free_mib_minimum"],
        ecc=arguments["ecc"], persistence=arguments["persistence"],
        shm_mib=arguments["shm_mib_minimum"])
    try:
        driver, gpus, findings = ask_driver(host, arguments["nvidia_smi"])
    except Unusable as problem:
        return {"findings": [problem.finding]}
    facts = host.facts(driver)
    findings += judge(wanted, gpus, facts, host)
    kinds = ", ".join(sorted({gpu.name or "without a name" for gpu in gpus}))
    return {"findings": findings, "gpus": [gpu.told() for gpu in gpus], "host": facts,
            "msg": f"{len(gpus)} GPUs are fit for engines: {kinds}, driver {driver}."}
