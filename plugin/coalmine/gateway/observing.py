"""Where the workers of a gateway without a policy share their figures: a private folder of the run.

A run is what one command line has started. Each of its workers holds a shared lock on the folder;
who can take it alone is the last, or finds what a killed run has left.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from coalmine.state import StateRefused
from coalmine.state.private_folder import NotPrivate, is_private, make_private, same_file

log = logging.getLogger("coalmine.observing")

LOCK = "lock"

GONE = ".gone"
"""End of the name of a folder that is being taken away."""

TRIES = 5
"""How often a folder is made that others take away at the same moment."""


class ObservingPlace:
    """The folder of this run.

    Attributes:
        path: where it is; it is there once it was entered.
    """

    def __init__(self, root: Path | None = None, run: str | None = None) -> None:
        self._root = root or Path(tempfile.gettempdir())
        named = run or "\x1f".join((str(os.getpgid(0)), os.getcwd(), *sys.argv))
        tag = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self._prefix = f"coalmine-observe-{os.getuid()}-"
        self.path = self._root / f"{self._prefix}{tag}"
        self._lock: int | None = None

    def enter(self) -> None:
        """Make it unless it is there, and clear away what dead runs have left.

        Raises:
            StateRefused: it is not ours alone, or cannot be made.
        """
        for path in self._root.glob(f"{self._prefix}*"):
            if path.name.endswith(GONE):
                with suppress(OSError):  # another has just done it
                    if is_private(path):
                        _remove(path)  # who has begun it may have died over it
            elif path != self.path:
                _clear(path)
        for _ in range(TRIES):  # the last worker to leave may be taking it away just now
            try:
                make_private(self.path)
                lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue
            except NotPrivate as error:
                raise StateRefused(str(error), "remove it and restart the proxy") from error
            except OSError as error:
                raise StateRefused(f"{self.path} cannot be made: {error}",
                                   "make the temporary directory writable") from error
            fcntl.flock(lock, fcntl.LOCK_SH)
            if same_file(lock, self.path / LOCK):
                self._lock = lock
                return
            os.close(lock)
        raise StateRefused(f"{self.path} vanishes as soon as it is made", "restart the proxy")

    def leave(self) -> None:
        """Leave it; the last one takes it away."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
            _clear(self.path)


def _clear(path: Path) -> None:
    """Take a run's folder away unless one of its workers lives."""
    try:
        if not is_private(path):
            return
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # just being made, or gone
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(lock, path / LOCK):  # else it is a new one by now, and somebody lives there
            # Aside first, in one act: who comes now makes a new one, and never finds half of it.
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{GONE}")
            path.rename(aside)
            _remove(aside)
    except BlockingIOError:
        return
    except OSError as error:
        log.warning("%s is left behind: %s", path, error)
    finally:
        os.close(lock)


def _remove(aside: Path) -> None:
    """Remove what nobody can enter any more; two may be at it at once."""
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        log.warning("%s is left behind", aside)
