"""The files that a worker writes events into, and the bounds of their folder.

Each worker has files of its own, named after the moment and the worker: nobody else writes there.
A file is in time order. A new one is begun when the last is large or old, and for an event that is
older than the last written; readers merge them (:mod:`coalmine.record.sources`). What is too old or
too much is taken away, whoever wrote it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from coalmine.state.private_folder import make_private, same_file

DAY = 86400.0
"""Seconds of events in one file at most."""

SHARE = 8
"""A file is at most this part of all, so that the oldest can go without taking much away."""

LARGEST = 64 << 20
"""Bytes of a file at most."""

TIDY = 60.0
"""Seconds between two looks at the folder."""

NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW

NAMES = re.compile(r"\d{8}T\d{6}Z-.+-\d+\.jsonl(\.gz)?")
"""Names of files that a worker wrote; somebody may have compressed them since."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where events are recorded.

    Attributes:
        folder: made if need be, readable by its owner only; the folder that it is in must exist.
        keep: seconds for which an event is kept.
        max_bytes: of all files together.
    """

    folder: Path
    keep: float
    max_bytes: int


class EventFiles:
    """One worker's files.

    Args:
        place: where.
        worker: this worker's id.
        wall: unix seconds.
    """

    def __init__(
        self, place: Place, worker: str, wall: Callable[[], float] = time.time
    ) -> None:
        self.place = place
        self._worker = worker
        self._wall = wall
        self._largest = min(LARGEST, place.max_bytes // SHARE)
        self._longest = min(DAY, place.keep)
        self._file: int | None = None
        self._path = place.folder
        self._size = 0
        self._first = self._newest = 0.0
        self._files = 0
        self._tidied = float("-inf")
        self._since = 0

    def write(self, events: Sequence[tuple[float, bytes]]) -> None:
        """Write events, all or none.

        Args:
            events: unix seconds and line of each, in time order.

        Raises:
            OSError: the folder is not ours alone, the disk is full, …
        """
        if not events:
            return
        if self._file is None or self._new_one(events[0][0], self._file):
            self._begin(events[0][0])
        self._append(b"".join(line for _, line in events))
        self._newest = events[-1][0]

    def tidy(self) -> None:
        """Take away what is too old or too much, if it is time to look. Never raises."""
        now = self._wall()
        if not 0 <= now - self._tidied < TIDY or self._since >= self._largest:
            self._tidied, self._since = now, 0
            with suppress(OSError):
                self._tidy(now)

    def close(self) -> None:
        """Close the file; a later write begins another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _new_one(self, at: float, file: int) -> bool:
        return (
            at < self._newest
            or at - self._first >= self._longest
            or self._size >= self._largest
            or not same_file(file, self._path)  # somebody has taken it away
        )

    def _begin(self, at: float) -> None:
        self.close()
        make_private(self.place.folder)
        moment = datetime.fromtimestamp(self._wall(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        while self._file is None:
            self._files += 1
            self._path = self.place.folder / f"{moment}-{self._worker}-{self._files}.jsonl"
            # One that is there was written before recording was switched off and on again.
            with suppress(FileExistsError):
                self._file = os.open(self._path, NEW, 0o600)
        self._size, self._first = 0, at

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left):]
        except OSError:
            with suppress(OSError):  # half a line would spoil the next one too
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)
        self._since += len(data)

    def _tidy(self, now: float) -> None:
        found = []
        for entry in os.scandir(self.place.folder):
            if NAMES.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # another worker tidies too
                    stat = entry.stat(follow_symlinks=False)
                    found.append((stat.st_mtime, stat.st_size, entry.path))
        mine = str(self._path)
        # The newest first, and before them the file that is being written.
        found.sort(key=lambda file: (file[2] == mine, file[0]), reverse=True)
        total = 0
        for changed, size, path in found:
            total += size
            if path != mine and (changed < now - self.place.keep or total > self.place.max_bytes):
                total -= size
                with suppress(FileNotFoundError):
                    os.unlink(path)
