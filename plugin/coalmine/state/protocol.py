"""What the shared state can do, whatever keeps it.

Two keep it: an embedded SQLite (one host) and Redis (several). One conformance suite runs over
both (``tests/state``). All calls are synchronous, bounded by the store's deadline, and made from
threads of ours, never from LiteLLM's event loop, save where a store says that a call is fast
enough. No call retries behind the caller's back.

Time: what expires does so by the store's own clock; all other times are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from coalmine.rollout.service import Service


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log of changes, append-only.

    Attributes:
        at: unix time.
        service: the service it is about.
        who: a person, an operator, or ``coalmine``.
        action: ``start``, ``pause``, ``rollback`` …
        reason: why, in words.
        before: epoch, phase, weight, stable, candidate and step before it.
        after: the same after it.
        figures: the figures it was decided on, empty when there were none.
    """

    at: float
    service: str
    who: str
    action: str
    reason: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of a worker.

    Attributes:
        worker: its id, unique for each start of a process.
        gateway: name of the gateway it belongs to.
        epochs: the epoch that it applies, by service.
        applied: unix time at which it applied that epoch, by service.
        in_flight: requests that it has open, by ``service/release``.
        seen: seconds since its last beat, by the store's clock; filled in when read.
    """

    worker: str
    gateway: str
    epochs: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    applied: dict[str, float] = field(default_factory=dict)
    seen: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker ships: the attempts that ended, and what they add to its gateway's totals.

    Attributes:
        worker: id of the worker.
        gateway: its gateway.
        number: counts up from 1 for each worker; a batch that was kept already is ignored, so
            that shipping it again after a doubtful answer counts nothing twice.
        attempts: the attempts, in the order in which they ended; JSON arrays or objects.
        totals: what to add to the gateway's totals, by name of the series.
    """

    worker: str
    gateway: str
    number: int
    attempts: tuple[Any, ...] = ()
    totals: dict[str, float] = field(default_factory=dict)


class Bell(Protocol):
    """Rings when the state has changed. Rings can be lost: a slow poll stands behind it."""

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when it rang. Never raises."""

    def close(self) -> None:
        """Give it back."""


class State(Protocol):
    """The shared state. Every method raises a StateError when it could not be done."""

    shared: bool
    """Whether several hosts can use it."""

    pin_ttl: float
    """Seconds for which a pin is kept after it was last looked at."""

    # services ---------------------------------------------------------------------------------
    def load(self) -> dict[str, Service]:
        """Return all services by name."""

    def swap(self, before: Service | None, after: Service, entry: Entry) -> bool:
        """Put `after` in the place of `before` and append `entry`, both or nothing; ring.

        `before` is compared by its epoch; None means that the service must not exist yet.
        Returns False, and does nothing, when another came first.
        """

    def reseed(self, service: Service, entry: Entry) -> bool:
        """Put `service` there when the state is missing it or holds an older epoch; ring.

        For a state that came back without its last writes (an old snapshot was restored). On the
        same epoch a rollback wins: a service that is rolling_back or rolled_back replaces one of
        the same epoch that is not. Returns whether it was put there.
        """

    def append(self, entry: Entry) -> None:
        """Append to the log what is no change of the service (a refused start, a warning)."""

    def history(self, service: str, limit: int = 200) -> list[Entry]:
        """Return the last `limit` entries of a service, oldest first."""

    # pins -------------------------------------------------------------------------------------
    # A key has 8 bytes and a code is in 0..9999. A pin (and each alias) is kept for `pin_ttl`
    # seconds after it was last looked at by any of these calls; nothing is kept for ever.

    def claim(self, key: bytes, code: int, *, wait: bool = True) -> int | None:
        """Set the pin of `key` if it has none, and return None; else return the one it has.

        With `wait=False` it raises StateBusy where it would have to wait for another process or
        for a network; what it does without waiting is fit for an event loop.
        """

    def move(self, key: bytes, expected: int, code: int) -> bool:
        """Replace the pin `expected` of `key` by `code`; False when it is another by now."""

    def resolve(
        self, aliases: Sequence[bytes], *, wait: bool = True
    ) -> tuple[bytes, int] | None:
        """Return the key and the pin of the first alias that has one, None when none has.

        A key counts as an alias of itself. `wait` is as in :meth:`claim`.
        """

    def bind(self, key: bytes, code: int, aliases: Sequence[bytes]) -> None:
        """Set the pin of `key` unless it has one, and let `aliases` that are free lead to it."""

    def moved_since(self, cursor: int) -> tuple[int, list[bytes]] | None:
        """Return the keys moved since `cursor`, and the new cursor.

        Workers use it to forget pins that others have moved. None when so many were moved that
        some are no longer known: then forget all. Start with cursor -1, which returns the
        present cursor and no keys.
        """

    # figures ----------------------------------------------------------------------------------
    def ship(self, batch: Batch, *, urgent: bool = False) -> None:
        """Keep a batch, once; `urgent` rings the bell.

        A worker ships its batches in their order: a number that is not above the last one kept
        of that worker is taken for shipped already.
        """

    def batches(self, cursor: str, limit: int = 500) -> tuple[str, list[Batch]]:
        """Return the batches after `cursor` ("" for the oldest kept), and the new cursor.

        The last 15 minutes are kept at least.
        """

    def totals(self, gateway: str) -> dict[str, float]:
        """Return a gateway's totals by name of the series."""

    def publish(self, name: str, document: dict[str, Any]) -> None:
        """Keep a small JSON document under a name (figures for status). The last one stays."""

    def published(self, name: str) -> dict[str, Any] | None:
        """Return that document, None when there is none."""

    # workers ----------------------------------------------------------------------------------
    def beat(self, beat: Beat) -> None:
        """Say that a worker lives."""

    def gone(self, worker: str) -> None:
        """Say that a worker has ended in peace: nobody waits for it any more."""

    def workers(self, within: float = 5.0) -> list[Beat]:
        """Return the workers seen within so many seconds."""

    def lease(self, owner: str, seconds: float) -> bool:
        """Take or renew the controller's lease; False when another holds it."""

    def unlease(self, owner: str) -> None:
        """Give the lease back if `owner` holds it."""

    # itself -----------------------------------------------------------------------------------
    def salt(self) -> bytes:
        """Return the installation's secret salt for keys, 32 bytes, made where there is none yet.

        Asked each time: a state that was lost comes back with another.
        """

    def generation(self) -> int:
        """Return a number that changes with every swap, as far as this process can know cheaply.

        Read for each request: costs less than a microsecond, never raises, never blocks.
        """

    def bell(self, name: str) -> Bell:
        """Return a bell of one's own; `name` is unique on this host (the worker's id)."""

    def close(self) -> None:
        """Close connections and files."""
