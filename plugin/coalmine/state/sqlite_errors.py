"""SQLite's errors in our words: one table, walked by a test."""

from __future__ import annotations

import sqlite3
from enum import Enum
from pathlib import Path

from coalmine.state.errors import StateCorrupt, StateError, StateRefused, StateUnreachable


class Trouble(Enum):
    """What an error of SQLite means for us: our error, what happened, what to do."""

    BUSY = (StateUnreachable, "is locked by another process", "see which process has it open")
    FULL = (StateUnreachable, "cannot grow: the disk is full", "make room on it")
    IO = (StateUnreachable, "cannot be read or written", "look at the disk and its mount")
    READ_ONLY = (StateRefused, "cannot be written", "give this user the right to write there")
    CORRUPT = (StateCorrupt, "is damaged", "restore it from a backup, or move it away")
    MISUSE = (StateCorrupt, "does not hold what Coalmine keeps there", "use a file of its own")


BY_CODE = {
    5: Trouble.BUSY,  # SQLITE_BUSY
    6: Trouble.BUSY,  # SQLITE_LOCKED
    8: Trouble.READ_ONLY,  # SQLITE_READONLY
    10: Trouble.IO,  # SQLITE_IOERR
    11: Trouble.CORRUPT,  # SQLITE_CORRUPT
    13: Trouble.FULL,  # SQLITE_FULL
    14: Trouble.READ_ONLY,  # SQLITE_CANTOPEN
    15: Trouble.BUSY,  # SQLITE_PROTOCOL: two processes were opening it for too long
    23: Trouble.READ_ONLY,  # SQLITE_AUTH
    26: Trouble.CORRUPT,  # SQLITE_NOTADB
}
"""By SQLite's primary result code, where Python tells it (3.11 on)."""

BY_MESSAGE = {
    "locked": Trouble.BUSY,
    "locking protocol": Trouble.BUSY,
    "readonly": Trouble.READ_ONLY,
    "unable to open": Trouble.READ_ONLY,
    "disk I/O": Trouble.IO,
    "malformed": Trouble.CORRUPT,
    "is full": Trouble.FULL,
    "not a database": Trouble.CORRUPT,
}
"""By a part of its message, for Python 3.10."""

BY_CLASS = {
    "Error": Trouble.IO,
    "InterfaceError": Trouble.IO,
    "DatabaseError": Trouble.CORRUPT,
    "OperationalError": Trouble.MISUSE,  # no such table, no such column
    "IntegrityError": Trouble.MISUSE,
    "InternalError": Trouble.CORRUPT,
    "ProgrammingError": Trouble.IO,  # a connection closed under the call
    "DataError": Trouble.MISUSE,
    "NotSupportedError": Trouble.MISUSE,
}
"""By the class, for all others."""


def trouble(error: sqlite3.Error) -> Trouble:
    """Return what `error` means."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & 0xFF) in BY_CODE:
        return BY_CODE[code & 0xFF]
    for part, meaning in BY_MESSAGE.items():
        if part in str(error):
            return meaning
    return next(BY_CLASS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in BY_CLASS)


def translate(error: sqlite3.Error, path: Path) -> StateError:
    """Return our error for one that SQLite raised about the file at `path`."""
    ours, what, hint = trouble(error).value
    made: StateError = ours(f"{path} {what}: {error}", hint)
    return made
