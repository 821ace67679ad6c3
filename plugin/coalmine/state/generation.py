"""A number that all processes of a host see at once, in 8 bytes of shared memory.

The hot path reads it for each request, so that none is routed by an old epoch even when the bell
is late.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

_SIZE = 8
_MOST = 2**63 - 1


class Generation:
    """The number kept in a file beside the database.

    Raises:
        OSError: when the file cannot be made or mapped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = (0, 0)
        self._last = 0
        self._view: memoryview | None = None
        self._map: mmap.mmap | None = None
        self._attach()

    def _attach(self) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(handle)
            if status.st_size < _SIZE:
                # Written, not truncated to size: a hole would end in SIGBUS on a full disk. It
                # begins with the time, so that a file made anew has a number not seen before.
                os.pwrite(handle, struct.pack("=Q", time.time_ns() // 1000), 0)
            mapped = mmap.mmap(handle, _SIZE)
        finally:
            os.close(handle)
        self._detach()
        self._map, self._identity = mapped, (status.st_dev, status.st_ino)
        self._view = memoryview(mapped).cast("Q")

    def read(self) -> int:
        """Return the number, at any time; the last one known when it is closed."""
        try:
            self._last = self._view[0]  # type: ignore[index]
        except (TypeError, ValueError):
            return self._last  # closed under the reader: it is None, or released memory
        return self._last

    def bump(self) -> None:
        """Change the number. Call it after the commit that it tells of.

        Two processes may bump at once and raise it by one only. No reader misses a commit by
        that: each reads the number after its own commit, so whoever loaded the state between the
        two commits has seen a number below the one that the second writes.
        """
        view = self._view
        if view is not None:
            view[0] = (view[0] + 1) & _MOST

    def follow(self) -> None:
        """Attach to the file that is at the path now, if it was deleted or replaced."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._attach()
            return
        if (status.st_dev, status.st_ino) != self._identity:
            self._attach()

    def _detach(self) -> None:
        view, mapped, self._view, self._map = self._view, self._map, None, None
        if view is not None and mapped is not None:
            self._last = view[0]
            view.release()
            mapped.close()

    def close(self) -> None:
        """Give the memory back; `read` then returns the last number."""
        self._detach()
