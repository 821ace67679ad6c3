"""Services, their log, the lease and the salt: the file that must not be lost."""

from __future__ import annotations

import secrets
import sqlite3

from coalmine.rollout.service import Service
from coalmine.state import documents
from coalmine.state.errors import StateCorrupt
from coalmine.state.host_clock import BOOT, age, host_seconds
from coalmine.state.protocol import Entry
from coalmine.state.sqlite_file import SqliteFile
from coalmine.state.sqlite_opening import Kind

SALT_BYTES = 32

KIND = Kind(
    schema="""
        CREATE TABLE services(
            name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, back INTEGER NOT NULL,
            document TEXT NOT NULL);
        CREATE TABLE log(
            number INTEGER PRIMARY KEY, service TEXT NOT NULL, document TEXT NOT NULL);
        CREATE INDEX log_by_service ON log(service, number);
        CREATE TABLE lease(
            one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT NOT NULL, boot TEXT NOT NULL,
            taken REAL NOT NULL, seconds REAL NOT NULL);
        CREATE TABLE salt(one INTEGER PRIMARY KEY CHECK (one = 1), salt BLOB NOT NULL)
    """,
    version=1,
    synchronous="FULL",
    autocheckpoint=1000,
    disposable=False,
    room=1 << 20,
)

_PUT = """
    INSERT INTO services(name, epoch, back, document) VALUES (?, ?, ?, ?)
    ON CONFLICT(name) DO UPDATE SET
        epoch = excluded.epoch, back = excluded.back, document = excluded.document
"""


class Services:
    """What SqliteState does in the state's file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._salt: bytes | None = None

    def load(self) -> dict[str, Service]:
        """See :meth:`State.load`."""
        rows = self._file.read(
            lambda c: c.execute("SELECT name, document FROM services ORDER BY name").fetchall()
        )
        return {name: documents.read_service(document) for name, document in rows}

    def swap(self, before: Service | None, after: Service, entry: Entry) -> bool:
        """See :meth:`State.swap`; the caller rings."""
        expected = before.epoch if before else None

        def work(connection: sqlite3.Connection) -> bool:
            held = _held(connection, after.name)
            if (held[0] if held else None) != expected:
                return False
            _put(connection, after, entry)
            return True

        return self._file.write(work)

    def reseed(self, service: Service, entry: Entry) -> bool:
        """See :meth:`State.reseed`; the caller rings."""
        mine = (service.epoch, documents.is_back(service))

        def work(connection: sqlite3.Connection) -> bool:
            held = _held(connection, service.name)
            if held is not None and held >= mine:
                return False
            if self._salt is not None:
                _keep_salt(connection, self._salt)
            _put(connection, service, entry)
            return True

        return self._file.write(work)

    def append(self, entry: Entry) -> None:
        """See :meth:`State.append`."""
        self._file.write(lambda connection: _log(connection, entry))

    def history(self, service: str, limit: int) -> list[Entry]:
        """See :meth:`State.history`."""
        rows = self._file.read(lambda c: c.execute(
            "SELECT document FROM log WHERE service = ? ORDER BY number DESC LIMIT ?",
            (service, max(limit, 0)),
        ).fetchall())
        return [documents.read_entry(document) for (document,) in reversed(rows)]

    def lease(self, owner: str, seconds: float) -> bool:
        """See :meth:`State.lease`. Who loses only reads."""
        if self._file.read(lambda c: _leased_to_another(c, owner)):
            return False

        def work(connection: sqlite3.Connection) -> bool:
            if _leased_to_another(connection, owner):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO lease(one, owner, boot, taken, seconds)"
                " VALUES (1, ?, ?, ?, ?)", (owner, BOOT, host_seconds(), seconds),
            )
            return True

        return self._file.write(work)

    def unlease(self, owner: str) -> None:
        """See :meth:`State.unlease`."""
        self._file.write(
            lambda c: c.execute("DELETE FROM lease WHERE owner = ?", (owner,)).rowcount
        )

    def salt(self) -> bytes:
        """See :meth:`State.salt`."""
        salt = self._file.read(_salt_of)
        if salt is None:
            salt = self._file.write(lambda c: _keep_salt(c, secrets.token_bytes(SALT_BYTES)))
        if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
            raise StateCorrupt(f"{self._file.path} holds a salt that Coalmine did not write")
        self._salt = salt
        return salt


def _held(connection: sqlite3.Connection, name: str) -> tuple[int, bool] | None:
    row = connection.execute("SELECT epoch, back FROM services WHERE name = ?", (name,)).fetchone()
    return (row[0], bool(row[1])) if row else None


def _put(connection: sqlite3.Connection, service: Service, entry: Entry) -> None:
    back, document = documents.is_back(service), documents.write_service(service)
    connection.execute(_PUT, (service.name, service.epoch, back, document))
    _log(connection, entry)


def _log(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO log(service, document) VALUES (?, ?)",
        (entry.service, documents.write_entry(entry)),
    )


def _leased_to_another(connection: sqlite3.Connection, owner: str) -> bool:
    row = connection.execute("SELECT owner, boot, taken, seconds FROM lease").fetchone()
    if row is None or row[0] == owner:
        return False
    since = age(row[1], row[2])
    return since is not None and since < row[3]


def _keep_salt(connection: sqlite3.Connection, salt: bytes) -> object:
    connection.execute("INSERT OR IGNORE INTO salt(one, salt) VALUES (1, ?)", (salt,))
    return _salt_of(connection)


def _salt_of(connection: sqlite3.Connection) -> object:
    row = connection.execute("SELECT salt FROM salt").fetchone()
    return row[0] if row else None
