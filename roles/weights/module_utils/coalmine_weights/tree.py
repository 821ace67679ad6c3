"""Folders of the host with all that lies in them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

FILE_MODE = 0o444
FOLDER_MODE = 0o555


class Found(NamedTuple):
    """What lies in a folder, by path within it."""

    files: dict[str, os.stat_result]
    folders: dict[str, os.stat_result]
    strange: list[str]  # links, sockets, devices


def survey(tree: Path) -> Found:
    """Look at all that lies in `tree`; links are not followed."""
    found = Found({}, {".": os.lstat(tree)}, [])
    for at, below, beside in os.walk(tree, onerror=_complain):
        for name in below + beside:
            path = os.path.relpath(os.path.join(at, name), tree)
            facts = os.lstat(tree / path)
            if stat.S_ISDIR(facts.st_mode):
                found.folders[path] = facts
            elif stat.S_ISREG(facts.st_mode):
                found.files[path] = facts
            else:
                found.strange.append(path)
    return found


def _complain(problem: OSError) -> None:
    raise problem


def seal(tree: Path, found: Found, owner: int, group: int, *, check: bool) -> bool:
    """Make all read-only and give it to its owner (-1: whoever has it); True where that is news."""
    modes = [(path, facts, FOLDER_MODE) for path, facts in found.folders.items()]
    modes += [(path, facts, FILE_MODE) for path, facts in found.files.items()]
    changed = False
    for path, facts, mode in modes:
        owned = owner in {-1, facts.st_uid} and group in {-1, facts.st_gid}
        if owned and stat.S_IMODE(facts.st_mode) == mode:
            continue
        changed = True
        if not check:
            if not owned:
                os.chown(tree / path, owner, group)
            os.chmod(tree / path, mode)
    return changed


def sync(path: Path) -> None:
    """Let a file or folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove whatever is there, read-only folders too."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        for at, _, _ in os.walk(path):
            os.chmod(at, 0o700)
        shutil.rmtree(path)
