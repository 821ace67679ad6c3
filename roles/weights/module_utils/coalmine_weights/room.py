"""Room on the host's disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def disk_use(path: Path) -> int:
    """Bytes that would be free were `path` removed."""
    if not os.path.lexists(path):
        return 0
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512
               for at, _, names in os.walk(path) for name in names)


def free_bytes(folder: Path) -> int:
    """Free space for what will be written in `folder`, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.2f} MiB"
