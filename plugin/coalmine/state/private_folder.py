"""A folder that is ours alone, in a place that all users of a host share: /tmp, /dev/shm."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


class NotPrivate(PermissionError):
    """What is there is no folder, or others can look into it, or it is theirs."""


def is_private(folder: Path) -> bool:
    """Whether it is a folder of ours, no link to one, and closed to everybody else.

    Raises:
        OSError: it cannot be looked at; among others it is not there.
    """
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return mine and not found.st_mode & 0o077


def make_private(folder: Path) -> None:
    """Make it unless it is there.

    Raises:
        NotPrivate: what is there is not ours alone.
        FileNotFoundError: it was taken away again just now.
        OSError: it cannot be made.
    """
    with suppress(FileExistsError):  # by ourselves: `exist_ok` would take a link to a folder
        folder.mkdir(mode=0o700)
    if not is_private(folder):
        raise NotPrivate(f"{folder} is not ours alone")


def same_file(file: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`: others may take it away and make it anew."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
