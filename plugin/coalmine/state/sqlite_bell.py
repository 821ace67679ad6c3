"""The bell of one host: a datagram socket for each listener in a private directory.

Measured from the commit to the last of 4 workers: 0.5 ms, 0.8 at p99, 8 when loaded, for 0.2 % of a
CPU. Polling every 10 ms is ten times as slow, and inotify on the WAL fires before the commit can be
seen.
"""

from __future__ import annotations

import hashlib
import logging
import os
import select
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coalmine.state.private_folder import NotPrivate, make_private

log = logging.getLogger("coalmine.state")

LONGEST_PATH = 100  # a socket's path may have 104 bytes on macOS, 108 on Linux
LOOK = 0.05
"""Seconds between two looks at the generation while there is no socket to wait for."""


def bell_directory(database: Path) -> Path:
    """Return the directory in which the listeners of the state at `database` have sockets."""
    tag = hashlib.blake2b(os.fsencode(os.path.realpath(database)), digest_size=6).hexdigest()
    name = f"coalmine-{os.geteuid()}-{tag}"
    directory = Path(tempfile.gettempdir()) / name
    # 18 more for the socket's own name; macOS has long temporary directories.
    return directory if len(os.fsencode(directory)) + 18 < LONGEST_PATH else Path("/tmp") / name


def _private(directory: Path) -> bool:
    """Make `directory` unless it is there; whether it is ours alone."""
    try:
        make_private(directory)
    except NotPrivate:
        log.warning("no bell in %s: it is not private; changes are seen by polling", directory)
        return False
    except OSError as error:
        log.warning("no bell in %s: %s; changes are seen by polling", directory, error)
        return False
    return True


class Ringer:
    """Rings all bells of a state."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        """Send to every listener; those whose process has ended are removed."""
        try:
            names = os.listdir(self._directory)
        except OSError:
            return  # nobody listens
        for name in names:
            path = self._directory / name
            try:
                self._socket.sendto(b"!", str(path))
            except ConnectionRefusedError:
                with suppress(OSError):
                    path.unlink()
            except OSError:
                continue  # its queue is full, so it rings anyway; or it has just gone

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SocketBell:
    """One listener's bell.

    Args:
        directory: of the sockets.
        name: unique on this host.
        generation: returns a number that each change of the state changes; it is looked at when
            no datagram came, so that a bell without a socket still rings, only later.
    """

    def __init__(self, directory: Path, name: str, generation: Callable[[], int]) -> None:
        tag = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        self._path = directory / tag
        self._generation = generation
        self._seen = generation()
        self._closed = False
        self._socket: socket.socket | None = None
        self._listen()

    def _listen(self) -> None:
        self._hang_up()
        for attempt in range(3):
            if not _private(self._path.parent):
                return
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                listener.setblocking(False)
                self._path.unlink(missing_ok=True)
                listener.bind(str(self._path))
            except OSError as error:
                listener.close()
                # The last to close a bell removes the directory, perhaps just now.
                if not isinstance(error, FileNotFoundError) or attempt == 2:
                    log.warning("no bell at %s: %s; changes are seen by polling", self._path, error)
            else:
                self._socket = listener
                return

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when it rang. Never raises."""
        end = time.monotonic() + timeout
        rang = False
        while not (rang or self._closed):
            left = end - time.monotonic()
            if left <= 0:
                break
            listener = self._socket
            rang = self._receive(listener, left) if listener else self._look(min(left, LOOK))
        generation = self._generation()
        changed, self._seen = generation != self._seen, generation
        if not rang and not self._closed and self._socket and not self._path.exists():
            self._listen()  # somebody cleaned the temporary directory
        return (rang or changed) and not self._closed

    def _receive(self, listener: socket.socket, timeout: float) -> bool:
        try:
            poller = select.poll()
            poller.register(listener, select.POLLIN)
            if not poller.poll(max(1.0, timeout * 1000)):
                return False
            while True:
                listener.recv(16)
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False  # closed meanwhile

    def _look(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self._generation() != self._seen

    def close(self) -> None:
        """Give it back; a `wait` under way ends."""
        self._closed = True
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waker:
            waker.sendto(b".", str(self._path))
        self._hang_up()

    def _hang_up(self) -> None:
        listener, self._socket = self._socket, None
        if listener is not None:
            listener.close()
            with suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()  # unless others listen there
