"""The files on the host: haproxy's, and those in which what was switched lasts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Where things are on the host."""

    admin: Path = Path("/run/haproxy/coalmine.sock")
    master: Path = Path("/run/haproxy-master.sock")
    slots: Path = Path("/etc/haproxy/slots.map")
    drained: Path = Path("/etc/haproxy/drained.state")
    keys: Path = Path("/etc/haproxy/emergency-keys.lst")
    configuration: Path = Path("/etc/haproxy/haproxy.cfg")


@contextlib.contextmanager
def alone(places: Places) -> Iterator[None]:
    """Keep other calls of this program from changing things meanwhile."""
    folder = os.open(places.slots.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def read(path: Path) -> str:
    """Return what is in a file, nothing when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def write(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader sees the old or the new one, whole."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        os.replace(made, path)
    except OSError:
        os.unlink(made)
        raise


def pairs(text: str, skip: int = 0) -> dict[str, str]:
    """Return a map's keys and values; `skip` columns stand before them."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[skip]: row[skip + 1] for row in rows if len(row) == skip + 2}


def with_slot(text: str, name: str, to: str) -> str:
    """Return a file of slots in which that of a service is another."""
    lines = [f"{name} {to}" if line.split()[:1] == [name] else line for line in text.splitlines()]
    if f"{name} {to}" not in lines:
        lines.append(f"{name} {to}")
    return "\n".join(lines) + "\n"
