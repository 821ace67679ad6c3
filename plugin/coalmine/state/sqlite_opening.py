"""Opening a SQLite file of ours: one process at a time, and only what is ours."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from coalmine.state.errors import StateCorrupt, StateRefused, StateUnreachable
from coalmine.state.sqlite_errors import Trouble, trouble

log = logging.getLogger("coalmine.state")

APPLICATION_ID = 0x434F_414C  # "COAL", in the header of each of our files
OPENING = 5.0
"""Seconds that opening a file may take: others may be opening it, and it may need recovery."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of file it is.

    Attributes:
        schema: statements that make its tables, separated by semicolons.
        version: of the schema.
        synchronous: FULL when a commit must survive a power cut, else NORMAL.
        autocheckpoint: pages in the WAL after which a commit moves them; 0 leaves that to us.
        disposable: a damaged or deleted file is replaced by an empty one.
        room: bytes to hold in reserve for a full disk.
    """

    schema: str
    version: int
    synchronous: str
    autocheckpoint: int
    disposable: bool
    room: int = 0


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Hold the lock under which `path` and the files beside it are made, opened and repaired.

    Two processes that switch a file to WAL at the same moment get "database is locked" in spite
    of any busy timeout.

    Raises:
        StateUnreachable: when another process holds it for longer than :data:`OPENING`.
        StateRefused: when its file cannot be made.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateRefused(f"{name} cannot be opened: {error}", "look at its rights") from error
    end = time.monotonic() + OPENING
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise StateUnreachable(
                        f"another process has been opening {path} for {OPENING:.0f} s",
                        "is it stopped? End it",
                    ) from None
                time.sleep(0.002)
        yield
    finally:
        os.close(handle)


def create(path: Path) -> None:
    """Make an empty file at `path` unless there is one.

    Made by us and not by SQLite, so that nobody else can read the salt whatever the umask. A
    file that exists is not opened here: closing it would drop SQLite's locks on it.

    Raises:
        StateRefused: when it cannot be made.
    """
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StateRefused(f"{path} cannot be made: {error}", "look at its disk") from error


def prepare(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Switch the file to WAL, make its tables, and see that it is ours and whole.

    Raises:
        StateRefused: another program's database, or another version's.
        StateCorrupt: damaged, where `kind` says that it cannot be replaced.
        sqlite3.Error: what SQLite says.
    """
    _switch_to_wal(connection, path)
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={kind.version}")
        for statement in kind.schema.split(";"):
            connection.execute(statement)
        connection.execute("COMMIT")
    elif owner != APPLICATION_ID:
        raise StateRefused(f"{path} is another program's database", "name another file")
    elif version != kind.version:
        raise StateRefused(
            f"{path} has version {version}, this Coalmine reads {kind.version}",
            "run one version of Coalmine on this host",
        )
    if not kind.disposable:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            _, what, hint = Trouble.CORRUPT.value
            raise StateCorrupt(f"{path} {what}: {verdict}", hint)
    if kind.room:
        _keep_room(connection, path, kind.room)


def _switch_to_wal(connection: sqlite3.Connection, path: Path) -> None:
    end = time.monotonic() + OPENING
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # Another process may be recovering or closing it, which is not under our lock.
            if trouble(error) is not Trouble.BUSY or time.monotonic() > end:
                raise
            time.sleep(0.005)
    if mode != "wal":
        raise StateRefused(f"{path} cannot be switched to WAL", "use a local disk")


def _keep_room(connection: sqlite3.Connection, path: Path, room: int) -> None:
    """Leave free pages in the file and in its WAL, so that changes fit when the disk is full.

    Nothing is lost when there is no room for that now.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    wal = path.with_name(f"{path.name}-wal")
    if min(free * page, wal.stat().st_size if wal.exists() else 0) > room * 3 // 4:
        return  # another process has it open and has seen to that
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE room(filler BLOB)")
        connection.execute("INSERT INTO room VALUES (zeroblob(?))", (room,))
        connection.execute("COMMIT")
        connection.execute("DROP TABLE room")
        # Now in the file too, and the WAL is written from its beginning again.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        log.warning("%s has no room in reserve for a full disk: %s", path, error)
