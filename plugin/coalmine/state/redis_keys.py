"""Every key that Coalmine has in Redis, and the value of a service. No scans, ever."""

from __future__ import annotations

from coalmine.rollout.service import Service
from coalmine.state import documents
from coalmine.state.errors import StateCorrupt

PREFIX = "coalmine:"
SERVICES = PREFIX + "services"
GENERATION = PREFIX + "generation"
SALT = PREFIX + "salt"
MOVES = PREFIX + "moves"
BATCHES = PREFIX + "batches"
PUBLISHED = PREFIX + "published"
BEATS = PREFIX + "beats"
BEAT_DOCUMENTS = PREFIX + "beats:documents"
LEASE = PREFIX + "lease"

PIN_PREFIX = b"\xc3"
"""One byte before the 8 of a conversation's key. With the short key and an integer that Redis
shares a pin takes 97 bytes, with a readable key and JSON 225. No UTF-8 text of length 9 that begins
with this byte is likely as a key of somebody else's."""

KEY_BYTES = 8


def log_of(service: str) -> str:
    """Key of a service's log."""
    return f"{PREFIX}log:{service}"


def shipped_by(worker: str) -> str:
    """Key of the number of the last batch that a worker shipped."""
    return f"{PREFIX}shipped:{worker}"


def totals_of(gateway: str) -> str:
    """Key of a gateway's totals."""
    return f"{PREFIX}totals:{gateway}"


def channel(database: int) -> str:
    """Channel of the bell; Redis does not keep its databases apart there."""
    return f"{PREFIX}bell:{database}"


def pin(key: bytes) -> bytes:
    """Key of a pin or an alias.

    Raises:
        ValueError: when `key` does not have 8 bytes, which would be taken for another's.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a conversation's key has {KEY_BYTES} bytes, not {len(key)}")
    return PIN_PREFIX + key


def service_value(service: Service) -> str:
    """Return a service's value: epoch, whether it was rolled back, document.

    The first two stand apart so that the scripts need not read the document.
    """
    back = int(documents.is_back(service))
    return f"{service.epoch} {back} {documents.write_service(service)}"


def read_service_value(value: bytes) -> Service:
    """Return the service in `value`, or raise StateCorrupt."""
    parts = value.split(b" ", 2)
    if len(parts) != 3:
        raise StateCorrupt(
            "a service in Redis has a value that Coalmine did not write",
            "restore it from a backup, or use another database",
        )
    return documents.read_service(parts[2])
