"""A scale made of what stable does: how unusual is a value, in standard deviations.

A value's **normal score** is the z for which a normal distribution has as much below it as stable's
distribution has below the value. It needs no model of latencies, and a bet on it is nearly as good
as the best bet on log-normal ones (van der Waerden's scores).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from coalmine.guardrails.histogram import BUCKETS

EVERY = 60.0
"""Seconds between two looks at the distribution: a score's table stays the same in between."""

FADING = 0.97
"""What a minute leaves of the weight of what came before: half of it is gone after 23 minutes."""

NEEDED = 50
"""Stable's values below which there is no scale."""

LARGEST = 4.0
"""Scores are cut there: how much farther out a value lies nobody can know from a few thousand."""

_NORMAL = NormalDist()

Table = Sequence[float]
"""Normal score by bucket of the histogram; never changed once made."""


class Scale:
    """Stable's rolling distribution of one measure, and the table of scores made of it."""

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
            self._remake = 2.0 * self.total
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


def _table(counts: Sequence[float], total: float) -> Table:
    scores: list[float] = []
    below, score = 0.0, -LARGEST
    fresh = True  # a bucket of its own; a stretch of empty ones has one score
    for count in counts:
        if count or fresh:
            share = (below + count / 2 + 0.25) / (total + 0.5)
            below += count
            score = max(-LARGEST, min(LARGEST, _NORMAL.inv_cdf(share)))
            fresh = bool(count)
        scores.append(score)
    return scores
