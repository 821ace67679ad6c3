"""A histogram of log-spaced buckets with a stated relative error, merged by addition.

Bucket i holds the values in (γ^(i−1), γ^i] × 0.1 ms. With γ = 1.02 a percentile read at the middle
of its bucket is off by at most 1 %, and 700 buckets reach from 0.1 ms to 100 s and beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

GAMMA = 1.02
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)
"""At most this relative error, 0.99 %, for values within the range."""

SMALLEST = 1e-4
"""Seconds: what is shorter lands in the first bucket."""

BUCKETS = 800
"""The last bucket takes all above γ^798 × 0.1 ms = 730 s."""

LARGEST = SMALLEST * GAMMA ** (BUCKETS - 2)
"""Seconds: from here on values are not told apart."""

_LOG_GAMMA = math.log(GAMMA)


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket that holds `seconds` (not negative, not NaN)."""
    if seconds <= SMALLEST:
        return 0
    if seconds >= LARGEST:
        return BUCKETS - 1
    return math.ceil(math.log(seconds / SMALLEST) / _LOG_GAMMA)


def value_of(bucket: int) -> float:
    """Return the value in seconds that stands for a bucket."""
    if bucket <= 0:
        return SMALLEST
    return float(2 * SMALLEST * GAMMA**bucket / (GAMMA + 1))


class Histogram:
    """Counts by bucket. Values can be taken away again, which makes windows cheap."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total = 0

    def add(self, bucket: int, times: int = 1) -> None:
        """Count `times` values of `bucket`; a negative number takes them away."""
        self.counts[bucket] += times
        self.total += times

    def merge(self, other: Histogram) -> None:
        """Add all that `other` holds."""
        self.total += other.total
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]

    def percentiles(self, shares: Iterable[float]) -> list[float | None]:
        """Return the percentiles at `shares` (0 to 1), None when empty.

        With n values a percentile is the one at place ⌈share·n⌉ of the sorted values, the first at
        least, as far as its bucket tells: within RELATIVE_ERROR of it.
        """
        wanted = list(shares)
        if self.total <= 0:
            return [None] * len(wanted)
        found: list[float | None] = [None] * len(wanted)
        order = sorted(range(len(wanted)), key=wanted.__getitem__)
        seen = 0
        at = 0
        for bucket, count in enumerate(self.counts):
            if not count:
                continue
            seen += count
            while at < len(order) and seen >= wanted[order[at]] * self.total:
                found[order[at]] = value_of(bucket)
                at += 1
            if at == len(order):
                break
        return found
