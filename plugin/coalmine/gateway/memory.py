"""What a worker remembers of conversations, so that a known one costs no look at the state."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SIZE = 100_000
"""Conversations remembered; the ones not heard of for longest are forgotten first."""


class Memory(Generic[K, V]):
    """A bounded map. Not locked: it is used from the event loop; `forget` and `clear` from other
    threads are single atomic operations."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return what is known of `key`."""
        return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Remember, and forget the oldest beyond the size."""
        self._kept[key] = value
        while len(self._kept) > self._size:
            try:
                self._kept.popitem(last=False)
            except KeyError:  # cleared by another thread in between
                return

    def forget(self, key: K) -> None:
        """Forget one."""
        self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._kept = OrderedDict()
