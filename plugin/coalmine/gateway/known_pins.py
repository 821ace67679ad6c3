"""The pins that a worker knows, and when the shared state was last asked about each."""

from __future__ import annotations

from collections.abc import Callable

from coalmine.gateway.memory import SIZE, Memory

CODES = 10_000
"""Codes of pins are below."""


class KnownPins:
    """A bounded memory of pins by conversation. As for threads it is as :class:`Memory`.

    Code and second are kept in one integer, as there may be 100 000 of them.

    Args:
        mono: monotonic seconds.
        size: conversations remembered.
    """

    def __init__(self, mono: Callable[[], float], size: int = SIZE) -> None:
        self._mono = mono
        self._kept: Memory[bytes, int] = Memory(size)
        self.forget = self._kept.forget
        self.clear = self._kept.clear

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def forgotten(self) -> int:
        """How often a pin was forgotten on request; see :class:`Memory`."""
        return self._kept.forgotten

    def get(self, key: bytes) -> int | None:
        """Return the pin's code, None when it is not known."""
        kept = self._kept.get(key)
        return None if kept is None else kept % CODES

    def put(self, key: bytes, code: int, since: int | None = None) -> None:
        """Remember the pin, which the state was asked about or told of now."""
        self._kept.put(key, int(self._mono()) * CODES + code, since)

    def due(self, key: bytes, every: float) -> bool:
        """Whether the state was last asked about a known pin more than `every` seconds ago; it is
        said once, and then it counts as asked."""
        kept = self._kept.get(key)
        if kept is None or self._mono() - kept // CODES < every:
            return False
        self.put(key, kept % CODES)
        return True
