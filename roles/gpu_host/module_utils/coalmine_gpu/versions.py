"""Versions of drivers, as they and their packages write them."""

from __future__ import annotations

import re

from .findings import Wrong

VERSION = re.compile(r"\d+(?:\.\d+)+")
PLAIN_VERSION = re.compile(r"\d+(?:\.\d+)*")


def upstream(version: str) -> str:
    """The driver's own version of a package's: 570.172.08 of 1:570.172.08-1.

    Raises Wrong where there is none in it.
    """
    found = VERSION.search(version.rpartition(":")[2])
    if found is None:
        raise Wrong(f"driver_version: {version!r} is not a version of a package, such as "
                    "570.172.08-1. `apt-cache policy` lists those that there are.")
    return found.group()


def parts(version: str) -> list[int]:
    """The numbers of a version, which compare as versions do."""
    return [int(part) for part in version.split(".")]
