"""What a worker remembers of conversations, so that a known one costs no look at the state."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SIZE = 100_000
"""Conversations remembered; the ones not heard of for longest are forgotten first."""


class Memory(Generic[K, V]):
    """A bounded map. Not locked: it is used from the event loop; `forget` and `clear` from other
    threads are single atomic operations.

    Attributes:
        forgotten: how often something was forgotten on request. Who has looked something up
            elsewhere, and finds that this has changed meanwhile, must not remember it: it may be
            the very thing that was to be forgotten.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return what is known of `key`, which has been heard of now."""
        kept = self._kept
        value = kept.get(key)
        if value is not None:
            try:
                kept.move_to_end(key)
            except KeyError:
                return value  # forgotten by another thread in between
        return value

    def put(self, key: K, value: V, since: int | None = None) -> None:
        """Remember, and forget the oldest beyond the size.

        With `since`, the value of `forgotten` before the look-up, only if nothing was forgotten.
        """
        if since is not None and since != self.forgotten:
            return
        kept = self._kept
        kept[key] = value
        with suppress(KeyError):  # forgotten or cleared by another thread in between
            kept.move_to_end(key)
            while len(kept) > self._size:
                kept.popitem(last=False)

    def forget(self, key: K) -> None:
        """Forget one."""
        self.forgotten += 1
        self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self.forgotten += 1
        self._kept = OrderedDict()
