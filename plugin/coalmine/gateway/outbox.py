"""The outbox: ended attempts on disk until they are shipped, so that a killed worker loses none.

A file for each worker, in a private folder that all workers of a gateway share. A line is written
with one ``write``, which outlives the process (not the machine). Before a batch is shipped, its
number and length are written; so whoever finds the file of a dead worker can make the very same
batch again, and the state ignores it if it was kept already. The owner holds a lock on its file as
long as it lives.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import orjson

from coalmine.state import Batch
from coalmine.state.private_folder import make_private, same_file

log = logging.getLogger("coalmine.outbox")

CLEARED_AT = 1 << 20
"""Bytes from which on the file is emptied as soon as all in it has been shipped."""

TRIES = 5
"""How often a file is made that others take away at the same moment."""

AGAIN = 0.01
"""Seconds between two of them when another worker looks into the file just now."""


class Outbox:
    """This worker's file.

    Args:
        folder: where the gateway's outboxes are; made if need be, readable by its owner only.
        worker: this worker's id; gateway: its gateway's name.
        number: of the worker's last batch.

    Raises:
        OSError: when the folder cannot be used.
    """

    def __init__(self, folder: Path, worker: str, gateway: str, number: int = 0) -> None:
        self.path = folder / f"{worker}.outbox"
        self._worker, self._gateway = worker, gateway
        self._file = self._open(folder)
        try:
            self._head(number)
        except OSError:
            self.close(empty=True)
            raise

    def _open(self, folder: Path) -> int:
        """Return the file, locked: until it is, others may take it for a dead worker's."""
        for _ in range(TRIES):
            try:
                make_private(folder)
                file = os.open(
                    self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # the last worker to end has taken the folder away just now
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if same_file(file, self.path):
                    return file
            except BlockingIOError:
                time.sleep(AGAIN)
            os.close(file)
        raise OSError(f"{self.path} is taken away or locked as soon as it is made")

    def _write(self, *fields: Any) -> None:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        if os.write(self._file, line) != len(line):
            raise OSError("the outbox took half a line")

    def _head(self, number: int) -> None:
        self._write("worker", self._worker, self._gateway, number)

    def attempt(self, name: int, row: list[Any]) -> None:
        """Keep an ended attempt, under a name of its own."""
        self._write("attempt", name, row)

    def void(self, name: int) -> None:
        """Forget one: it was no attempt after all."""
        self._write("void", name)

    def batch(self, number: int, names: list[int]) -> None:
        """Say that these attempts are batch `number`."""
        self._write("batch", number, names)

    def clear(self, number: int) -> None:
        """Everything up to batch `number` was shipped and nothing waits: begin anew if large."""
        if os.fstat(self._file).st_size >= CLEARED_AT:
            os.ftruncate(self._file, 0)
            self._head(number)

    def close(self, *, empty: bool) -> None:
        """Give the file back; take it away when nothing waits in it, and with the last one the
        folder."""
        try:
            if empty:
                self.path.unlink(missing_ok=True)
                with suppress(OSError):
                    self.path.parent.rmdir()
        finally:
            os.close(self._file)


def outbox_folder(gateway: str, base: Path) -> Path:
    """Return the folder of a gateway's outboxes: in memory where the system has such a place.

    A write there never waits for a disk, and what must outlive is a process, not the machine.
    """
    memory = Path("/dev/shm")
    root = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(gettempdir())
    name = hashlib.sha256(f"{gateway}\x1f{base}".encode()).hexdigest()[:12]
    return root / f"coalmine-outbox-{os.getuid()}-{name}"


def left_behind(text: str) -> list[Batch]:
    """Return the batches that a dead worker's file still asks to be shipped, oldest first.

    The last announced batch may have been shipped or not; shipping it again is harmless. Attempts
    that are in no batch become one more.
    """
    worker = gateway = ""
    number = 0
    waiting: dict[int, Any] = {}
    last: Batch | None = None
    for line in text.splitlines():
        try:
            written: list[Any] = orjson.loads(line)
        except ValueError:
            continue  # the half line of a worker that died while it wrote
        kind: str = written[0]
        fields: list[Any] = [*written[1:], None]
        if kind == "worker":
            worker, gateway, number = fields[:3]
        elif kind == "attempt":
            waiting[fields[0]] = fields[1]
        elif kind == "void":
            waiting.pop(fields[0], None)
        elif kind == "batch":
            number, names = fields[:2]
            held = tuple(waiting.pop(name) for name in names if name in waiting)
            last = Batch(worker, gateway, number, held)
    batches = [last] if last is not None else []
    if waiting and worker:
        batches.append(Batch(worker, gateway, number + 1, tuple(waiting.values())))
    return batches


def adopt(folder: Path, mine: Path | None, ship: Callable[[Batch], None]) -> int:
    """Ship what dead workers of this gateway left behind; return how many attempts that were.

    A file whose owner lives is locked, and left alone. One that could not be shipped stays.

    Raises:
        StateError: what `ship` raises.
    """
    adopted = 0
    for path in sorted(folder.glob("*.outbox")):
        if path == mine:
            continue
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            log.warning("the outbox %s cannot be opened: %s", path, error)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not same_file(file, path):
                continue  # another worker has adopted it meanwhile, or its owner has a new one
            text = os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace")
            for batch in left_behind(text):
                ship(batch)
                adopted += len(batch.attempts)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.error("the outbox %s cannot be read, it is put aside: %s", path, error)
            path.rename(path.with_suffix(".broken"))
        finally:
            os.close(file)
    return adopted
