"""The shared state of several hosts, in Redis.

What changes more than one key is one script, and each script that writes carries the moment at
which its caller gives up, by Redis' own clock: a hung Redis would otherwise do it all when it
wakes (measured: 100 of 100 abandoned claims). A rollback is one round trip.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from typing import Any

from coalmine.rollout.service import Service
from coalmine.state import documents
from coalmine.state import redis_keys as keys
from coalmine.state.errors import StateBusy, StateCorrupt, StateRefused
from coalmine.state.protocol import Batch, Beat, Bell, Entry
from coalmine.state.redis_bell import RedisBell
from coalmine.state.redis_link import RedisLink

LOG_KEPT = 10_000
MOVES_KEPT = 10_000
BATCHES_KEPT = 16 * 60.0
FIGURES_KEPT = 7 * 86400.0
BEATS_KEPT = 3600.0
SALT_BYTES = 32


class RedisState:
    """Implements :class:`coalmine.state.State` for any number of hosts.

    Args:
        url: ``redis://`` or ``rediss://``, with user, password and database number. The
            certificate is always verified; ``?ssl_ca_certs=`` names the CA.
        deadline: seconds for the connect and for each answer. After one that was missed, calls
            fail at once until Redis answers a probe.
        pin_ttl: seconds for which a pin is kept after it was last looked at, give or take a
            tenth.

    Raises:
        StateRefused: Redis cannot be used: its version, role, eviction policy, rights,
            certificate. When it is out of reach, the calls raise StateUnreachable.
    """

    shared = True

    def __init__(self, url: str, *, deadline: float = 0.2, pin_ttl: float = 86400.0) -> None:
        self.pin_ttl = pin_ttl
        self._ttl = max(1, int(pin_ttl * 1000))
        self._lock = threading.Lock()
        self._salt: bytes | None = None
        self._generation = 0
        self._last_told = -1
        self._link = RedisLink(url, deadline)
        self._channel = keys.channel(self._link.database)

    # services ---------------------------------------------------------------------------------
    def load(self) -> dict[str, Service]:
        """See :meth:`State.load`."""
        generation, *pairs = self._link.call("load", [keys.SERVICES, keys.GENERATION])
        services = {
            name.decode(): keys.read_service_value(value)
            for name, value in zip(pairs[::2], pairs[1::2], strict=True)
        }
        self._tell(generation, newest=True)
        return dict(sorted(services.items()))

    def swap(self, before: Service | None, after: Service, entry: Entry) -> bool:
        """See :meth:`State.swap`."""
        return self._tell(self._link.call(
            "swap",
            [keys.SERVICES, keys.log_of(after.name), keys.GENERATION],
            [
                after.name, before.epoch if before else "", keys.service_value(after),
                documents.write_entry(entry), LOG_KEPT, self._channel,
            ],
        ))

    def reseed(self, service: Service, entry: Entry) -> bool:
        """See :meth:`State.reseed`. A lost salt is put back too, if this process knows it."""
        return self._tell(self._link.call(
            "reseed",
            [keys.SERVICES, keys.log_of(service.name), keys.GENERATION, keys.SALT],
            [
                service.name, service.epoch, int(documents.is_back(service)),
                keys.service_value(service), documents.write_entry(entry), LOG_KEPT,
                self._channel, self._salt or b"",
            ],
        ))

    def _tell(self, generation: int, *, newest: bool = False) -> bool:
        """Note a generation of the store's; 0 means that nothing was changed.

        A message of the bell may be late, so only `newest` knowledge may lead back (to that of
        an old snapshot).
        """
        with self._lock:
            if generation > self._last_told or (newest and generation != self._last_told):
                self._last_told = generation
                self._generation += 1
        return generation > 0

    def append(self, entry: Entry) -> None:
        """See :meth:`State.append`."""
        self._link.call(
            "append", [keys.log_of(entry.service)], [documents.write_entry(entry), LOG_KEPT]
        )

    def history(self, service: str, limit: int = 200) -> list[Entry]:
        """See :meth:`State.history`; the last 10 000 are kept."""
        if limit <= 0:
            return []
        found = self._link.command("LRANGE", keys.log_of(service), -limit, -1)
        return [documents.read_entry(text) for text in found]

    # pins -------------------------------------------------------------------------------------
    def claim(self, key: bytes, code: int, *, wait: bool = True) -> int | None:
        """See :meth:`State.claim`; there is always a network to wait for."""
        _must_wait(wait)
        held: int | None = self._link.call(
            "claim", [keys.pin(key)], [code, self._ttl, keys.PIN_PREFIX]
        )
        return held

    def move(self, key: bytes, expected: int, code: int) -> bool:
        """See :meth:`State.move`."""
        return bool(self._link.call(
            "move", [keys.pin(key), keys.MOVES], [expected, code, self._ttl, key, MOVES_KEPT]
        ))

    def resolve(
        self, aliases: Sequence[bytes], *, wait: bool = True
    ) -> tuple[bytes, int] | None:
        """See :meth:`State.resolve`; there is always a network to wait for."""
        _must_wait(wait)
        if not aliases:
            return None
        found = self._link.call(
            "resolve", [keys.pin(alias) for alias in aliases], [self._ttl, keys.PIN_PREFIX]
        )
        return (found[0][len(keys.PIN_PREFIX):], found[1]) if found else None

    def bind(self, key: bytes, code: int, aliases: Sequence[bytes]) -> None:
        """See :meth:`State.bind`."""
        self._link.call(
            "bind", [keys.pin(key), *map(keys.pin, aliases)], [code, self._ttl, keys.PIN_PREFIX]
        )

    def moved_since(self, cursor: int) -> tuple[int, list[bytes]] | None:
        """See :meth:`State.moved_since`."""
        found = self._link.call("moved_since", [keys.MOVES], [cursor, MOVES_KEPT])
        return (int(found[0]), found[1:]) if found else None

    # figures ----------------------------------------------------------------------------------
    def ship(self, batch: Batch, *, urgent: bool = False) -> None:
        """See :meth:`State.ship`."""
        totals = [word for name, value in batch.totals.items() for word in (name, repr(value))]
        self._link.call(
            "ship",
            [keys.BATCHES, keys.shipped_by(batch.worker), keys.totals_of(batch.gateway)],
            [
                batch.number, documents.write_batch(batch), int(BATCHES_KEPT * 1000),
                int(FIGURES_KEPT * 1000), self._channel if urgent else "", *totals,
            ],
        )

    def batches(self, cursor: str, limit: int = 500) -> tuple[str, list[Batch]]:
        """See :meth:`State.batches`."""
        if cursor and not cursor.replace("-", "", 1).isdigit():
            raise StateRefused(f"{cursor!r} is no cursor of this store", 'begin with ""')
        after = f"({cursor}" if cursor else "-"
        found = self._link.command("XRANGE", keys.BATCHES, after, "+", "COUNT", limit)
        last = found[-1][0].decode() if found else cursor
        return last, [documents.read_batch(_field(fields)) for _, fields in found]

    def totals(self, gateway: str) -> dict[str, float]:
        """See :meth:`State.totals`; forgotten after a week without a batch."""
        found = self._link.command("HGETALL", keys.totals_of(gateway))
        return {name.decode(): float(value) for name, value in found.items()}

    def publish(self, name: str, document: dict[str, Any]) -> None:
        """See :meth:`State.publish`."""
        self._link.call("publish", [keys.PUBLISHED], [name, documents.to_json(document)])

    def published(self, name: str) -> dict[str, Any] | None:
        """See :meth:`State.published`."""
        text = self._link.command("HGET", keys.PUBLISHED, name)
        return documents.read_document(text) if text is not None else None

    # workers ----------------------------------------------------------------------------------
    def beat(self, beat: Beat) -> None:
        """See :meth:`State.beat`."""
        self._link.call(
            "beat", [keys.BEATS, keys.BEAT_DOCUMENTS],
            [beat.worker, documents.write_beat(beat), int(BEATS_KEPT * 1e6)],
        )

    def gone(self, worker: str) -> None:
        """See :meth:`State.gone`."""
        self._link.call("gone", [keys.BEATS, keys.BEAT_DOCUMENTS], [worker])

    def workers(self, within: float = 5.0) -> list[Beat]:
        """See :meth:`State.workers`."""
        found = self._link.call(
            "workers", [keys.BEATS, keys.BEAT_DOCUMENTS], [int(within * 1e6)]
        )
        beats = [
            documents.read_beat(text, age / 1e6)
            for age, text in zip(found[::2], found[1::2], strict=True)
        ]
        return sorted(beats, key=lambda beat: beat.worker)

    def lease(self, owner: str, seconds: float) -> bool:
        """See :meth:`State.lease`."""
        return bool(self._link.call("lease", [keys.LEASE], [owner, max(1, int(seconds * 1000))]))

    def unlease(self, owner: str) -> None:
        """See :meth:`State.unlease`."""
        self._link.call("unlease", [keys.LEASE], [owner])

    # itself -----------------------------------------------------------------------------------
    def salt(self) -> bytes:
        """See :meth:`State.salt`."""
        salt: bytes = self._link.call("salt", [keys.SALT], [secrets.token_bytes(SALT_BYTES)])
        if len(salt) != SALT_BYTES:
            raise StateCorrupt("Redis holds a salt that Coalmine did not write")
        self._salt = salt
        return salt

    def generation(self) -> int:
        """See :meth:`State.generation`: as far as bells, loads and own changes have told."""
        return self._generation

    def bell(self, name: str) -> Bell:
        """See :meth:`State.bell`. It connects while it is waited for."""
        return RedisBell(self._link.subscription, self._channel, self._link.deadline, self._heard)

    def _heard(self, payload: bytes) -> None:
        if payload.isdigit():
            self._tell(int(payload))

    def close(self) -> None:
        """See :meth:`State.close`. Bells are closed by those who asked for them."""
        self._link.close()


def _must_wait(wait: bool) -> None:
    if not wait:
        raise StateBusy("Redis is behind a network", "ask from a thread")


def _field(fields: Any) -> bytes:
    """Return the only field's value of a stream's entry, which is a list or a dictionary."""
    value = fields[b"d"] if isinstance(fields, dict) else fields[1]
    return bytes(value)
