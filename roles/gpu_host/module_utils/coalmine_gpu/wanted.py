"""What the host must have, as the arguments say it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .findings import Wrong
from .versions import PLAIN_VERSION, upstream


class Wanted(NamedTuple):
    """What the host must have."""

    gpus: int
    driver_minimum: str
    driver_version: str
    free_mib: int
    ecc: bool
    persistence: bool
    shm_mib: int


def check(arguments: dict[str, Any]) -> None:
    """Refuse arguments that make no sense, with Wrong."""
    for name in ("timeout", "gpus"):
        if arguments[name] < 1:
            raise Wrong(f"{name}: {arguments[name]} is less than 1.")
    for name in ("free_mib_minimum", "shm_mib_minimum"):
        if arguments[name] < 0:
            raise Wrong(f"{name}: {arguments[name]} is less than 0.")
    least = arguments["driver_minimum"]
    if least and not PLAIN_VERSION.fullmatch(least):
        raise Wrong(f"driver_minimum: {least!r} is not a version, such as 570 or 570.86.15.")
    if arguments["driver_version"]:
        upstream(arguments["driver_version"])
    if arguments["only_driver"] and not (arguments["driver_version"]
                                         and arguments["driver_package"]):
        raise Wrong("only_driver: give driver_package and driver_version too.")
