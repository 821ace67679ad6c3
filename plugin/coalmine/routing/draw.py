"""The draw: which arm a new conversation gets.

Integer buckets in millionths, so that 0.1 % is exact. The hash is salted with the service, the
era and the number of the weight change: with one salt a rollout, a re-draw at 5 % after 1 % gives
4.07 %, and lowering 25 % to 10 % gives nothing (measured, reference/state.md).
"""

from __future__ import annotations

from hashlib import blake2b

WHOLE = 1_000_000
"""Buckets in all: weights are kept in millionths."""


def millionths(percent: float) -> int:
    """Return a weight in percent (0 to 100) as millionths of the conversations."""
    return round(percent * 10_000)


def bucket(conversation: bytes, service: str, era: int, change: int) -> int:
    """Return the conversation's bucket, 0..999 999, the same on every worker."""
    salt = f"{service}\x1f{era}\x1f{change}".encode()
    hashed = blake2b(conversation, digest_size=8, key=blake2b(salt, digest_size=16).digest())
    return int.from_bytes(hashed.digest(), "big") % WHOLE
