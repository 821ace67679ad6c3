"""One SQLite file, used by several threads and processes, each call bounded in time."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from coalmine.state.errors import StateBusy, StateRefused, StateUnreachable
from coalmine.state.sqlite_errors import Trouble, translate, trouble
from coalmine.state.sqlite_opening import Kind, create, opening, prepare
from coalmine.state.sqlite_place import check_place

T = TypeVar("T")
log = logging.getLogger("coalmine.state")

IDLE_CONNECTIONS = 4

_open_in: Counter[int] = Counter()
"""Open files by process id. SQLite keeps its locks' state in memory: a child that was forked with
a file open would believe in locks that it does not have, even on a connection of its own."""


class SqliteFile:
    """A file with a few idle connections to it.

    A connection serves one call at a time and goes back to a pool. Waiting for another
    process's lock is our own loop, not SQLite's busy timeout, whose long sleeps are unfair.
    SQLite must not cross a fork: a child that finds itself with its parent's file is refused.

    Args:
        path: where it is, absolute.
        kind: what sort of file.
        deadline: seconds within which a call ends.

    Raises:
        StateRefused, StateCorrupt, StateUnreachable: when it cannot be opened.
    """

    def __init__(self, path: Path, kind: Kind, deadline: float) -> None:
        self.path = path
        self.kind = kind
        self.deadline = deadline
        self._pid = os.getpid()
        self._idle: deque[sqlite3.Connection] = deque()
        self._identity = (0, 0)
        self._closed = False
        if any(count for pid, count in _open_in.items() if pid != self._pid):
            raise _forked(path)
        self._open()
        _open_in[self._pid] += 1

    # acts -------------------------------------------------------------------------------------
    def read(self, work: Callable[[sqlite3.Connection], T], *, wait: bool = True) -> T:
        """Return what `work` reads. Each statement sees one state, several may see several."""
        return self._act(work, wait)

    def write(self, work: Callable[[sqlite3.Connection], T], *, wait: bool = True) -> T:
        """Do `work` in one transaction, whole or not at all, and return what it returns."""

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result

        return self._act(transaction, wait)

    def _act(self, work: Callable[[sqlite3.Connection], T], wait: bool) -> T:
        end = time.monotonic() + self.deadline
        renewed = False
        while True:
            try:
                with self._connection(wait) as connection:
                    return work(connection)
            except sqlite3.Error as error:
                kind = trouble(error)
                if kind is Trouble.BUSY and not wait:
                    raise StateBusy(f"{self.path} is busy", "ask from a thread") from error
                if kind is Trouble.BUSY and time.monotonic() < end:
                    time.sleep(random.uniform(0.0002, 0.001))
                elif kind in _FULL and self.kind.room and time.monotonic() < end:
                    self._empty_wal()
                elif kind is Trouble.CORRUPT and self.kind.disposable and not renewed:
                    self._renew(error)
                    renewed = True
                else:
                    raise translate(error, self.path) from error

    def _empty_wal(self) -> None:
        """Make room in a WAL that cannot grow: the file has a reserve too, and takes its pages."""
        with suppress(sqlite3.Error), self._connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        time.sleep(0.005)  # another process may be at it, and then ours did nothing

    def checkpoint(self, truncate_above: int | None = None) -> None:
        """Move what the WAL holds into the file, without stopping readers or writers.

        Args:
            truncate_above: bytes of the WAL above which it is also cut to nothing, for which
                writers have to wait.

        Raises:
            StateError: when it could not; that another process is at it is no error.
        """
        wal = self.path.with_name(self.path.name + "-wal")

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if truncate_above is not None and wal.stat().st_size > truncate_above:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        with suppress(StateBusy, FileNotFoundError):
            self._act(work, wait=False)

    # connections ------------------------------------------------------------------------------
    @contextmanager
    def _connection(self, wait: bool = True) -> Iterator[sqlite3.Connection]:
        self._check_still_ours(wait)
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        identity = self._identity
        try:
            yield connection
        except BaseException as error:
            # A doubtful connection is not kept, and closing it rolls back what it had begun.
            if isinstance(error, sqlite3.Error) and trouble(error) is Trouble.BUSY:
                self._give_back(connection, identity)
            else:
                _discard(connection)
            raise
        self._give_back(connection, identity)

    def _give_back(self, connection: sqlite3.Connection, identity: tuple[int, int]) -> None:
        fit = identity == self._identity and not self._closed and not connection.in_transaction
        if fit and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            _discard(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA synchronous={self.kind.synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint={self.kind.autocheckpoint}")
            connection.execute("PRAGMA temp_store=MEMORY")
        except sqlite3.Error:
            _discard(connection)
            raise
        return connection

    def _check_still_ours(self, wait: bool) -> None:
        """See that the file at the path is the one that our connections have open.

        Deleted under open connections it would go on existing for us alone, and split the
        workers silently. A deleted state is out of reach until it is back; a replaced one is
        opened anew, and the workers re-seed what it lacks.
        """
        if self._closed:
            raise StateUnreachable(f"{self.path} was closed", "the gateway is stopping")
        if os.getpid() != self._pid:
            raise _forked(self.path)
        try:
            if self._identity == _identity(self.path):
                return
        except FileNotFoundError:
            if not self.kind.disposable:
                raise StateUnreachable(
                    f"{self.path} is gone",
                    "put it back, or restart a gateway: it begins anew and the others re-seed it",
                ) from None
        except OSError as error:
            raise StateUnreachable(f"{self.path} cannot be looked at: {error}") from error
        if not wait:  # another process may be opening it
            raise StateBusy(f"{self.path} was replaced", "ask from a thread")
        self._open()

    # opening ----------------------------------------------------------------------------------
    def _open(self) -> None:
        check_place(self.path)
        try:
            with opening(self.path):
                if self.path.exists() and self._identity == _identity(self.path):
                    return  # another thread was faster
                if self._identity != (0, 0):
                    log.warning("%s was replaced under open connections: opened anew", self.path)
                try:
                    self._prepare()
                except sqlite3.Error as error:
                    if not self.kind.disposable or trouble(error) is not Trouble.CORRUPT:
                        raise
                    self._set_aside(error)
                    self._prepare()
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def _prepare(self) -> None:
        self._drop_connections()
        create(self.path)
        connection = self._connect()
        try:
            prepare(connection, self.path, self.kind)
        except BaseException:
            _discard(connection)
            raise
        self._identity = _identity(self.path)
        # Kept open: the last one to close a file removes its WAL, and the room held in it.
        self._idle.append(connection)

    def _renew(self, error: sqlite3.Error) -> None:
        """Begin the file anew after `error`, unless another process has done so by now."""
        with opening(self.path):
            if self.path.exists() and self._identity == _identity(self.path):
                self._set_aside(error)
            try:
                self._prepare()
            except sqlite3.Error as again:
                raise translate(again, self.path) from again

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        log.error("%s is damaged (%s): moved to %s, begun anew", self.path, error, aside)
        self._drop_connections()
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _drop_connections(self) -> None:
        while self._idle:
            try:
                _discard(self._idle.pop())
            except IndexError:
                return

    def close(self) -> None:
        """Close the connections; calls under way end first."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        _open_in[self._pid] -= 1
        self._drop_connections()


_FULL = frozenset({Trouble.FULL, Trouble.IO})


def _forked(path: Path) -> StateRefused:
    return StateRefused(
        f"{path} was opened before a fork, which SQLite does not survive",
        "open the state in each worker, after it was started",
    )


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _discard(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error as error:
        log.warning("a connection could not be closed: %s", error)
