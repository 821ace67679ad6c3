"""What befalls both arms alike: the hour of the day, and incidents."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from coalmine.sim.scenarios import DAY

SWING = 0.5
"""Arrivals and error rate rise and fall by this share in the course of a day."""
A_DAY, LASTS = 2, 300.0
"""Incidents in a day, and the seconds each lasts."""


class Weather:
    """Swing and incidents, asked at times that never go back.

    Args:
        draw: where the phase and the incidents come from.
        seconds: for how long there are incidents.
        swing: whether the hour matters.
        incidents: whether there are any.
    """

    def __init__(self, draw: random.Random, *, seconds: float, swing: bool, incidents: bool
                 ) -> None:
        self.peak = 1.0 + SWING if swing else 1.0
        """The largest factor on arrivals."""
        self._turning = 2.0 * math.pi / DAY if swing else 0.0
        self._phase = draw.random() * 2.0 * math.pi if swing else 0.0
        days = math.ceil(seconds / DAY) if incidents else 0
        self._begins: Iterator[float] = iter(sorted(
            (day + draw.random()) * DAY for day in range(days) for _ in range(A_DAY)))
        self._next = next(self._begins, math.inf)

    def load(self, t: float) -> float:
        """Return the factor on arrivals."""
        return 1.0 + SWING * self.wave(t)

    def wave(self, t: float) -> float:
        """Return where in the swing of the day it is, -1 to 1; always 0 without one."""
        return math.sin(t * self._turning + self._phase)

    def hits(self, t: float) -> bool:
        """Whether an incident is on."""
        if t < self._next:
            return False
        while t >= self._next + LASTS:
            self._next = next(self._begins, math.inf)
        return t >= self._next
