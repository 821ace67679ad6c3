"""Figures: batches, totals, beats and published documents, in a file of their own."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from coalmine.state import documents
from coalmine.state.errors import StateRefused
from coalmine.state.host_clock import BOOT, age, host_seconds
from coalmine.state.protocol import Batch, Beat
from coalmine.state.sqlite_file import SqliteFile
from coalmine.state.sqlite_opening import Kind

BATCHES_KEPT = 16 * 60.0
BEATS_KEPT = 3600.0
TOTALS_KEPT = 7 * 86400.0
"""Seconds after which a gateway that ships nothing is forgotten, with its workers."""
SLICE = 500
"""Rows deleted in one transaction; measured: p99 10 ms for the claims beside it."""

KIND = Kind(
    schema="""
        CREATE TABLE batches(number INTEGER PRIMARY KEY, document TEXT NOT NULL);
        CREATE TABLE shipped(worker TEXT PRIMARY KEY, number INTEGER NOT NULL, at REAL NOT NULL);
        CREATE TABLE gateways(gateway TEXT PRIMARY KEY, at REAL NOT NULL);
        CREATE TABLE totals(
            gateway TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
            PRIMARY KEY (gateway, name)) WITHOUT ROWID;
        CREATE TABLE published(name TEXT PRIMARY KEY, document TEXT NOT NULL);
        CREATE TABLE beats(
            worker TEXT PRIMARY KEY, boot TEXT NOT NULL, at REAL NOT NULL, document TEXT NOT NULL)
    """,
    version=1,
    synchronous="NORMAL",
    autocheckpoint=1000,
    disposable=True,
)


class Figures:
    """What SqliteState does in the figures' file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def ship(self, batch: Batch) -> bool:
        """Keep a batch; False when it was kept before."""
        document = documents.write_batch(batch)

        def work(connection: sqlite3.Connection) -> bool:
            last = connection.execute(
                "SELECT number FROM shipped WHERE worker = ?", (batch.worker,)
            ).fetchone()
            if last and last[0] >= batch.number:
                return False
            now = time.time()
            connection.execute(
                "INSERT OR REPLACE INTO shipped(worker, number, at) VALUES (?, ?, ?)",
                (batch.worker, batch.number, now),
            )
            connection.execute(
                "INSERT INTO batches(number, document) VALUES (?, ?)",
                (_next_number(connection), document),
            )
            connection.execute(
                "INSERT OR REPLACE INTO gateways(gateway, at) VALUES (?, ?)", (batch.gateway, now)
            )
            connection.executemany(
                "INSERT INTO totals(gateway, name, value) VALUES (?, ?, ?)"
                " ON CONFLICT(gateway, name) DO UPDATE SET value = value + excluded.value",
                [(batch.gateway, name, value) for name, value in batch.totals.items()],
            )
            return True

        return self._file.write(work)

    def batches(self, cursor: str, limit: int) -> tuple[str, list[Batch]]:
        """See :meth:`State.batches`."""
        try:
            after = int(cursor or 0)
        except ValueError:
            raise StateRefused(f"{cursor!r} is no cursor of this store", 'begin with ""') from None
        rows = self._file.read(lambda c: c.execute(
            "SELECT number, document FROM batches WHERE number > ? ORDER BY number LIMIT ?",
            (after, limit),
        ).fetchall())
        found = [documents.read_batch(document) for _, document in rows]
        return (str(rows[-1][0]) if rows else cursor), found

    def totals(self, gateway: str) -> dict[str, float]:
        """See :meth:`State.totals`."""
        return dict(self._file.read(lambda c: c.execute(
            "SELECT name, value FROM totals WHERE gateway = ?", (gateway,)
        ).fetchall()))

    def publish(self, name: str, document: dict[str, Any]) -> None:
        """See :meth:`State.publish`."""
        row = (name, documents.to_json(document))
        self._file.write(lambda c: c.execute(
            "INSERT OR REPLACE INTO published(name, document) VALUES (?, ?)", row
        ).rowcount)

    def published(self, name: str) -> dict[str, Any] | None:
        """See :meth:`State.published`."""
        row = self._file.read(lambda c: c.execute(
            "SELECT document FROM published WHERE name = ?", (name,)
        ).fetchone())
        return documents.read_document(row[0]) if row else None

    def beat(self, beat: Beat) -> None:
        """See :meth:`State.beat`."""
        row = (beat.worker, BOOT, host_seconds(), documents.write_beat(beat))
        self._file.write(lambda c: c.execute(
            "INSERT OR REPLACE INTO beats(worker, boot, at, document) VALUES (?, ?, ?, ?)", row
        ).rowcount)

    def gone(self, worker: str) -> None:
        """See :meth:`State.gone`."""
        self._file.write(lambda c: c.execute(
            "DELETE FROM beats WHERE worker = ?", (worker,)
        ).rowcount)

    def workers(self, within: float) -> list[Beat]:
        """See :meth:`State.workers`."""
        rows = self._file.read(lambda c: c.execute(
            "SELECT boot, at, document FROM beats ORDER BY worker"
        ).fetchall())
        aged = [(age(boot, at), document) for boot, at, document in rows]
        return [
            documents.read_beat(document, seen)
            for seen, document in aged if seen is not None and seen <= within
        ]

    # housekeeping -----------------------------------------------------------------------------
    def prune(self) -> None:
        """Delete what is older than is kept, in small transactions."""
        oldest = (time.time() - BATCHES_KEPT) * 1e6
        while self._file.write(lambda c: c.execute(
            "DELETE FROM batches WHERE number IN"
            " (SELECT number FROM batches WHERE number < ? LIMIT ?)", (oldest, SLICE),
        ).rowcount) == SLICE:
            pass
        self._file.write(_forget)


def _forget(connection: sqlite3.Connection) -> None:
    gone = time.time() - TOTALS_KEPT
    connection.execute("DELETE FROM shipped WHERE at < ?", (gone,))
    connection.execute(
        "DELETE FROM totals WHERE gateway IN (SELECT gateway FROM gateways WHERE at < ?)", (gone,)
    )
    connection.execute("DELETE FROM gateways WHERE at < ?", (gone,))
    connection.execute(
        "DELETE FROM beats WHERE boot <> ? OR at < ?", (BOOT, host_seconds() - BEATS_KEPT)
    )


def _next_number(connection: sqlite3.Connection) -> int:
    """Return the time in microseconds, raised above the last number where needed.

    So a file that was made anew goes on above the cursors of those who read the file before.
    """
    last = connection.execute("SELECT max(number) FROM batches").fetchone()[0]
    return max((last or 0) + 1, time.time_ns() // 1000)
