"""Pins: a file of its own, so that claims wake nobody and a full disk stops claims only.

Two tables: pins go into the newer one, and every `ttl` the older one is dropped whole and the
newer takes its place. So a pin lives between one and two `ttl` after it was last looked at, and
nothing grows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress

from coalmine.state.errors import StateError
from coalmine.state.sqlite_file import SqliteFile
from coalmine.state.sqlite_opening import Kind

MOVES_KEPT = 10_000
WAL_BYTES = 4 << 20

_TABLE = "CREATE TABLE pins(key BLOB PRIMARY KEY, value NOT NULL) WITHOUT ROWID"

KIND = Kind(
    schema=f"""
        {_TABLE};
        CREATE TABLE pins_before(key BLOB PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
        CREATE TABLE moves(number INTEGER PRIMARY KEY, key BLOB NOT NULL);
        CREATE TABLE rotated(one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL)
    """,
    version=1,
    synchronous="NORMAL",
    autocheckpoint=0,  # a claim is made on the hot path; a thread of ours moves the pages
    disposable=True,
)

_FIND = """
    SELECT (SELECT value FROM pins WHERE key = ?1), (SELECT value FROM pins_before WHERE key = ?1)
"""

# One statement, so that no move comes between the bounds and the rows; the last one always.
_MOVED_SINCE = """
    SELECT number, key, (SELECT min(number) FROM moves), (SELECT count(*) FROM moves)
    FROM moves WHERE number >= min(?, (SELECT max(number) FROM moves)) ORDER BY number
"""

Value = int | bytes | None
"""A code; or the key to which an alias leads; or nothing."""


class Pins:
    """What SqliteState does in the pins' file.

    Args:
        file: the file.
        ttl: seconds.
    """

    def __init__(self, file: SqliteFile, ttl: float) -> None:
        self._file = file
        self._ttl = ttl

    def claim(self, key: bytes, code: int, *, wait: bool) -> int | None:
        """See :meth:`State.claim`."""

        def work(connection: sqlite3.Connection) -> int | None:
            _, held = _root(connection, key)
            if held is None:
                _put(connection, key, code)
            return held

        return self._file.write(work, wait=wait)

    def move(self, key: bytes, expected: int, code: int) -> bool:
        """See :meth:`State.move`."""

        def work(connection: sqlite3.Connection) -> bool:
            if _value(connection, key) != expected:
                return False
            _put(connection, key, code)
            number = _next_number(connection)
            connection.execute("INSERT INTO moves(number, key) VALUES (?, ?)", (number, key))
            connection.execute(
                "DELETE FROM moves WHERE number <= "
                "(SELECT number FROM moves ORDER BY number DESC LIMIT 1 OFFSET ?)", (MOVES_KEPT,),
            )
            return True

        return self._file.write(work)

    def resolve(self, aliases: Sequence[bytes], *, wait: bool) -> tuple[bytes, int] | None:
        """See :meth:`State.resolve`."""

        def work(connection: sqlite3.Connection) -> tuple[bytes, int, list[bytes]] | None:
            for alias in aliases:
                aging: list[bytes] = []
                key, code = _root(connection, alias, aging)
                if code is not None:
                    return key, code, aging
            return None

        found = self._file.read(work, wait=wait)
        if found is None:
            return None
        key, code, aging = found
        if aging:
            # If it cannot be now: it has a `ttl` left, and the next look tries again.
            with suppress(StateError):
                self._file.write(lambda c: _keep(c, aging), wait=False)
        return key, code

    def bind(self, key: bytes, code: int, aliases: Sequence[bytes]) -> None:
        """See :meth:`State.bind`."""

        def work(connection: sqlite3.Connection) -> None:
            root, held = _root(connection, key)
            if held is None:
                root = key
                _put(connection, key, code)
            for alias in aliases:
                if alias != root and _root(connection, alias)[1] is None:
                    _put(connection, alias, root)

        self._file.write(work)

    def moved_since(self, cursor: int) -> tuple[int, list[bytes]] | None:
        """See :meth:`State.moved_since`."""
        if cursor < 0:
            row = self._file.read(lambda c: c.execute("SELECT max(number) FROM moves").fetchone())
            return row[0] or 0, []
        rows = self._file.read(lambda c: c.execute(_MOVED_SINCE, (cursor,)).fetchall())
        if not rows:
            return (0, []) if cursor == 0 else None
        last, (_, _, first, count) = rows[-1][0], rows[0]
        if cursor > last or (cursor < first and count >= MOVES_KEPT):
            return None
        return last, [key for number, key, _, _ in rows if number > cursor]

    # housekeeping -----------------------------------------------------------------------------
    def rotate(self) -> None:
        """Drop the older table when its time has come. By the wall clock: pins survive a boot."""
        row = self._file.read(lambda c: c.execute("SELECT at FROM rotated").fetchone())
        if row is None or not 0 <= time.time() - row[0] < self._ttl:
            self._file.write(self._rotate)

    def _rotate(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT at FROM rotated").fetchone()
        now = time.time()
        since = now - row[0] if row else -1.0
        if 0 <= since < self._ttl:
            return  # another process was faster
        if since >= self._ttl:
            connection.execute("DROP TABLE pins_before")
            connection.execute("ALTER TABLE pins RENAME TO pins_before")
            connection.execute(_TABLE)
        connection.execute("INSERT OR REPLACE INTO rotated(one, at) VALUES (1, ?)", (now,))

    def checkpoint(self) -> None:
        """Move the WAL into the file."""
        self._file.checkpoint(truncate_above=WAL_BYTES)


def _value(connection: sqlite3.Connection, key: bytes) -> Value:
    newer, older = connection.execute(_FIND, (key,)).fetchone()
    value: Value = newer if newer is not None else older
    return value


def _root(
    connection: sqlite3.Connection, key: bytes, aging: list[bytes] | None = None
) -> tuple[bytes, int | None]:
    """Return the key to which `key` leads and its code; those in the older table are `aging`.

    Without `aging` (in a transaction) they are put into the newer table at once.
    """
    at = key
    for _ in range(2):  # an alias leads to a key, never to an alias
        newer, older = connection.execute(_FIND, (at,)).fetchone()
        value: Value = newer if newer is not None else older
        if newer is None and older is not None:
            if aging is None:
                _put(connection, at, older)
            else:
                aging.append(at)
        if not isinstance(value, bytes):
            return at, value
        at = value
    return at, None


def _put(connection: sqlite3.Connection, key: bytes, value: int | bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO pins(key, value) VALUES (?, ?)", (key, value))


def _keep(connection: sqlite3.Connection, aging: list[bytes]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO pins SELECT key, value FROM pins_before WHERE key = ?",
        [(key,) for key in aging],
    )


def _next_number(connection: sqlite3.Connection) -> int:
    """Return the number of the next move.

    It is the time in microseconds, raised where needed: numbers of a file made anew are above
    those that workers have seen of the file before.
    """
    last = connection.execute("SELECT max(number) FROM moves").fetchone()[0]
    return max((last or 0) + 1, time.time_ns() // 1000)
