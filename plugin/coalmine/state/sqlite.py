"""The shared state of one host, in SQLite: nothing to install, nothing to run.

Beside ``coalmine.db`` (services, their log, lease, salt; every commit survives a power cut) stand
``coalmine.db.pins``, ``coalmine.db.figures``, ``coalmine.db.generation`` (8 bytes of shared memory)
and locks. Claims then wake nobody, damage is contained, and when the disk is full a rollback can
still be written. A damaged pins or figures file is moved aside and begun anew; the state never.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coalmine.rollout.service import Service
from coalmine.state import sqlite_figures, sqlite_pins, sqlite_services
from coalmine.state.errors import StateRefused
from coalmine.state.generation import Generation
from coalmine.state.housekeeper import Chore, Housekeeper
from coalmine.state.protocol import Batch, Beat, Bell, Entry
from coalmine.state.sqlite_bell import Ringer, SocketBell, bell_directory
from coalmine.state.sqlite_figures import Figures
from coalmine.state.sqlite_file import SqliteFile
from coalmine.state.sqlite_opening import Kind, opening
from coalmine.state.sqlite_pins import Pins
from coalmine.state.sqlite_services import Services

CHECKPOINT = 0.5
PRUNE = 30.0


class SqliteState:
    """Implements :class:`coalmine.state.State` for the processes of one host.

    `claim` and `resolve` with ``wait=False`` take 0.1 ms and may be called on an event loop.

    Args:
        path: the state's file; its directory must exist.
        deadline: seconds within which a call ends. A disk that hangs may take longer.
        pin_ttl: seconds for which a pin is kept after it was last looked at, at least; it is
            gone after twice as many.

    Raises:
        StateRefused: the place is unfit (rights, owner, directory, network file system).
        StateCorrupt: the state's file is damaged.
        StateUnreachable: others hold it locked.
    """

    shared = False

    def __init__(self, path: Path, *, deadline: float = 0.25, pin_ttl: float = 86400.0) -> None:
        self.pin_ttl = pin_ttl
        path = self.path = path.absolute()
        self._files: list[SqliteFile] = []
        self._lock = threading.Lock()
        self._generation: Generation | None = None
        self._ringer: Ringer | None = None
        self._housekeeper: Housekeeper | None = None
        self._last_generation = 0
        try:
            self._services = Services(self._open(path, sqlite_services.KIND, deadline))
            pins = self._open(_beside(path, "pins"), sqlite_pins.KIND, deadline)
            self._pins = Pins(pins, pin_ttl)
            figures = self._open(_beside(path, "figures"), sqlite_figures.KIND, deadline)
            self._figures = Figures(figures)
            try:
                with opening(path):
                    self._generation = Generation(_beside(path, "generation"))
            except OSError as error:
                raise StateRefused(
                    f"{_beside(path, 'generation')} cannot be opened: {error}",
                    "look at its disk and its rights",
                ) from error
            self._directory = bell_directory(path)
            self._ringer = Ringer(self._directory)
            self._pins.rotate()
        except BaseException:
            self.close()
            raise
        self._checkpoint = Chore(PRUNE, self._files[0].checkpoint)
        self._housekeeper = Housekeeper(
            self._checkpoint,
            Chore(CHECKPOINT, self._pins.checkpoint),
            Chore(min(60.0, pin_ttl / 10), self._pins.rotate),
            Chore(PRUNE, self._figures.prune),
        )

    def _open(self, path: Path, kind: Kind, deadline: float) -> SqliteFile:
        file = SqliteFile(path, kind, deadline)
        self._files.append(file)
        return file

    # services ---------------------------------------------------------------------------------
    def load(self) -> dict[str, Service]:
        """See :meth:`State.load`.

        Raises:
            StateUnreachable: among others when the file was deleted, until one is there again.
        """
        if self._generation is not None:
            try:
                self._generation.follow()
            except OSError as error:
                raise StateRefused(f"the generation beside the state is gone: {error}") from error
        return self._services.load()

    def swap(self, before: Service | None, after: Service, entry: Entry) -> bool:
        """See :meth:`State.swap`."""
        return self._ring(self._services.swap(before, after, entry))

    def reseed(self, service: Service, entry: Entry) -> bool:
        """See :meth:`State.reseed`."""
        return self._ring(self._services.reseed(service, entry))

    def _ring(self, changed: bool) -> bool:
        """After the commit: shared memory first, then the bells, then the slow rest."""
        if changed:
            with self._lock:
                if self._generation is not None:
                    self._generation.bump()
            self._sound()
            if self._housekeeper is not None:
                self._housekeeper.hurry(self._checkpoint)
        return changed

    def _sound(self) -> None:
        if self._ringer is not None:
            self._ringer.ring()

    def append(self, entry: Entry) -> None:
        """See :meth:`State.append`."""
        self._services.append(entry)

    def history(self, service: str, limit: int = 200) -> list[Entry]:
        """See :meth:`State.history`; nothing is ever removed from the log."""
        return self._services.history(service, limit)

    # pins -------------------------------------------------------------------------------------
    def claim(self, key: bytes, code: int, *, wait: bool = True) -> int | None:
        """See :meth:`State.claim`."""
        return self._pins.claim(key, code, wait=wait)

    def move(self, key: bytes, expected: int, code: int) -> bool:
        """See :meth:`State.move`."""
        return self._pins.move(key, expected, code)

    def resolve(
        self, aliases: Sequence[bytes], *, wait: bool = True
    ) -> tuple[bytes, int] | None:
        """See :meth:`State.resolve`."""
        return self._pins.resolve(aliases, wait=wait)

    def bind(self, key: bytes, code: int, aliases: Sequence[bytes]) -> None:
        """See :meth:`State.bind`."""
        self._pins.bind(key, code, aliases)

    def moved_since(self, cursor: int) -> tuple[int, list[bytes]] | None:
        """See :meth:`State.moved_since`."""
        return self._pins.moved_since(cursor)

    # figures ----------------------------------------------------------------------------------
    def ship(self, batch: Batch, *, urgent: bool = False) -> None:
        """See :meth:`State.ship`."""
        if self._figures.ship(batch) and urgent:
            self._sound()

    def batches(self, cursor: str, limit: int = 500) -> tuple[str, list[Batch]]:
        """See :meth:`State.batches`."""
        return self._figures.batches(cursor, limit)

    def totals(self, gateway: str) -> dict[str, float]:
        """See :meth:`State.totals`."""
        return self._figures.totals(gateway)

    def publish(self, name: str, document: dict[str, Any]) -> None:
        """See :meth:`State.publish`."""
        self._figures.publish(name, document)

    def published(self, name: str) -> dict[str, Any] | None:
        """See :meth:`State.published`."""
        return self._figures.published(name)

    # workers ----------------------------------------------------------------------------------
    def beat(self, beat: Beat) -> None:
        """See :meth:`State.beat`."""
        self._figures.beat(beat)

    def gone(self, worker: str) -> None:
        """See :meth:`State.gone`."""
        self._figures.gone(worker)

    def workers(self, within: float = 5.0) -> list[Beat]:
        """See :meth:`State.workers`."""
        return self._figures.workers(within)

    def lease(self, owner: str, seconds: float) -> bool:
        """See :meth:`State.lease`."""
        return self._services.lease(owner, seconds)

    def unlease(self, owner: str) -> None:
        """See :meth:`State.unlease`."""
        self._services.unlease(owner)

    # itself -----------------------------------------------------------------------------------
    def salt(self) -> bytes:
        """See :meth:`State.salt`."""
        return self._services.salt()

    def generation(self) -> int:
        """See :meth:`State.generation`: that of all processes of this host, at once."""
        return self._generation.read() if self._generation is not None else 0

    def bell(self, name: str) -> Bell:
        """See :meth:`State.bell`."""
        return SocketBell(self._directory, name, self.generation)

    def close(self) -> None:
        """See :meth:`State.close`. Bells are closed by those who asked for them."""
        if self._housekeeper is not None:
            self._housekeeper.close()
        for file in self._files:
            file.close()
        if self._ringer is not None:
            self._ringer.close()
        if self._generation is not None:
            self._generation.close()


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")
