"""How long stable has worked for a conversation when it has ended a turn, by the turn's number.

An arm with quicker turns meets its failures sooner, though they are as many: an agent's sixty turns
in two minutes instead of four. So a first failure is told so much later as stable mostly works
longer until that turn, whichever arm it is of. How long people think between turns is theirs.
"""

from __future__ import annotations

from typing import Any

KNOWN = 60
"""Turns that are told apart by their number."""

MEMORY = 200.0
"""Conversations of stable over which it is remembered."""

MOSTLY = 1.5
"""Times the mean, by which most have been as far."""


class Pace:
    """Stable's mean work until the end of each turn."""

    def __init__(self) -> None:
        self._worked: list[float] = []
        self._heard: list[float] = []

    def add(self, number: int, worked: float) -> None:
        """Stable has ended a turn of a conversation, the first has number 0, after so many seconds
        of work for it in all."""
        if number >= KNOWN or number > len(self._worked):
            return
        if number == len(self._worked):
            self._worked.append(worked)
            self._heard.append(1.0)
            return
        self._heard[number] = heard = min(self._heard[number] + 1.0, MEMORY)
        self._worked[number] += (worked - self._worked[number]) / heard

    def usual(self, number: int) -> float:
        """Return the seconds of work after which most have ended a turn; 0 while none has."""
        if not self._worked:
            return 0.0
        known = min(number, len(self._worked) - 1)
        return MOSTLY * self._worked[known] * (number + 1) / (known + 1)

    def to_document(self) -> list[Any]:
        """Return it as JSON, for a take-over."""
        return [self._worked, self._heard]

    def restore(self, document: list[Any]) -> None:
        """Go on where :meth:`to_document` was made.

        Raises:
            ValueError: when it is something else.
        """
        worked, heard = (list(map(float, one)) for one in document)
        if len(worked) != len(heard) or len(worked) > KNOWN:
            raise ValueError(f"{len(worked)} times of {len(heard)} turns")
        self._worked, self._heard = worked, heard
