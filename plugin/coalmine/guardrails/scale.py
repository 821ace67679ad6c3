"""A scale made of what stable does: the share of stable's values that lie below a value.

It needs no model of latencies. The mean of such shares is compared by rank, nearly as good as the
best test on log-normal ones (Mann & Whitney 1947), and cannot be spoilt by one endless request.
Conversations' first turns have a scale of their own: they are the shortest and nothing of them is
in the engine's cache yet, so an arm whose conversations have fewer turns would else look slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from coalmine.guardrails.histogram import BUCKETS, bucket_of

EVERY = 60.0
"""Seconds between two looks at the distribution: the table stays the same in between."""

FADING = 0.97
"""What a minute leaves of the weight of what came before: half of it is gone after 23 minutes."""

NEEDED = 50
"""Stable's values below which there is no scale."""

GROWN = 1.25
"""Times as many values as the table was made of, from which on it is made anew before its minute:
of fifty values every fiftieth that follows is the slowest ever."""

Table = Sequence[float]
"""Share of stable's values below, by bucket of the histogram; never changed once made."""

Tables = tuple["Table | None", "Table | None"]
"""Those of later and of first turns, None where there are not enough values."""


class Scale:
    """Stable's rolling distribution of one measure, and the table made of it."""

    __slots__ = ("_counts", "_next", "_remake", "table", "total")

    def __init__(self) -> None:
        self._counts = [0.0] * BUCKETS
        self.total = 0.0
        self._next: float | None = None
        self._remake = float(NEEDED)
        self.table: Table | None = None

    def add(self, at: float, bucket: int) -> None:
        """Take in one of stable's values.

        Args:
            at: unix time.
            bucket: its bucket (:func:`coalmine.guardrails.histogram.bucket_of`).
        """
        self._counts[bucket] += 1.0
        self.total += 1.0
        if self._next is None:
            self._next = at + EVERY
        due = at >= self._next
        if self.total >= NEEDED and (due or self.total >= self._remake):
            self._remake = GROWN * self.total
            self.table = _table(self._counts, self.total)
        if due:
            self._next = at + EVERY
            self._counts = [count * FADING for count in self._counts]
            self.total *= FADING

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON: the buckets that hold something."""
        held = [[bucket, count] for bucket, count in enumerate(self._counts) if count > 1e-3]
        return {"counts": held, "next": self._next, "remake": self._remake}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made."""
        self._counts = [0.0] * BUCKETS
        for bucket, count in document["counts"]:
            self._counts[int(bucket)] = float(count)
        self.total = sum(self._counts)
        self._next = document["next"]
        self._remake = float(document["remake"])
        self.table = _table(self._counts, self.total) if self.total >= NEEDED else None


class Scales:
    """The scales of one measure: of later and of first turns."""

    __slots__ = ("_scales",)

    def __init__(self) -> None:
        self._scales = Scale(), Scale()

    @property
    def tables(self) -> Tables:
        """The tables as they are now."""
        later, first = self._scales
        return later.table, first.table

    def add(self, at: float, value: float, *, first: bool) -> None:
        """Take in one of stable's values, of a conversation's first turn or a later one."""
        self._scales[first].add(at, bucket_of(value))

    def to_document(self) -> list[dict[str, Any]]:
        """Return them as JSON."""
        return [scale.to_document() for scale in self._scales]

    def restore(self, document: list[dict[str, Any]]) -> None:
        """Go on where :meth:`to_document` was made."""
        for scale, kept in zip(self._scales, document, strict=True):
            scale.restore(kept)


def share_below(tables: Tables, value: float, *, first: bool) -> float | None:
    """Return the share of stable's values below, strictly between 0 and 1; None without a table."""
    table = tables[first]
    return None if table is None else table[bucket_of(value)]


def _table(counts: Sequence[float], total: float) -> Table:
    return [(upto - count / 2 + 0.25) / (total + 0.5)
            for upto, count in zip(accumulate(counts), counts, strict=True)]
