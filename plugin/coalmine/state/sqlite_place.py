"""Whether a place can hold the state at all. What cannot is refused, with what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

from coalmine.state.errors import StateRefused

NETWORK = frozenset({
    "9p", "acfs", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse.glusterfs",
    "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "smb3", "smbfs",
})
"""File systems whose locks or shared memory do not reach all who mount them."""


def check_place(path: Path) -> None:
    """Check that a database can live at `path`, an absolute path.

    Raises:
        StateRefused: it is a directory, has another owner, cannot be written, or lies on a
            network file system.
    """
    directory = path.parent
    if not directory.is_dir():
        raise StateRefused(f"there is no directory {directory}", "create it")
    if path.is_dir():
        raise StateRefused(f"{path} is a directory", "name a file in it")
    kind = file_system(directory)
    if kind in NETWORK:
        raise StateRefused(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold",
            "use a local disk, or Redis for several hosts",
        )
    _check_rights(directory, os.W_OK | os.X_OK)
    if path.exists():
        if not path.is_file():
            raise StateRefused(f"{path} is no ordinary file", "name another one")
        _check_owner(path)
        _check_rights(path, os.R_OK | os.W_OK)


def _check_owner(path: Path) -> None:
    owner, me = path.stat().st_uid, os.geteuid()
    if owner != me:
        raise StateRefused(
            f"{path} belongs to user {owner}, but this process runs as user {me}",
            f"run it as user {owner}, or change the owner of the file and those beside it",
        )


def _check_rights(path: Path, rights: int) -> None:
    if not os.access(path, rights):
        raise StateRefused(
            f"{path} cannot be written by user {os.geteuid()}",
            "give that user the right to write there, or mount it writable",
        )


def file_system(directory: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that holds `directory`, "" where it is not known.

    Args:
        directory: an existing directory.
        mounts: text in the form of ``/proc/self/mounts``, which is read when it is None.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    real = directory.resolve()
    best, found = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes blanks in a path as \040 and a backslash as \134.
        point = Path(fields[1].replace("\\040", " ").replace("\\134", "\\"))
        depth = len(point.parts)
        # Of several mounts on one point the last hides those before it.
        if depth >= best and (point == real or point in real.parents):
            best, found = depth, fields[2]
    return found
