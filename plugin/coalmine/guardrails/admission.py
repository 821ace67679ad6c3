"""Which conversations of a caller who floods are evidence.

Whether one is admitted must not depend on its arm, so neither on how long its answers take: it is
decided once, by its own name and by how many its caller has asked for in the minute before its
request.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from zlib import crc32

ADMITTED = 100
"""Conversations of one caller in a minute that count, while at least :data:`ACTIVE` call."""

ACTIVE = 5
"""Callers in a minute from which on one of them is limited in the next."""

KEPT = 3
"""Minutes that are remembered: who was refused, and who asked for how many. Of what was asked for
before nobody knows any more whether it was refused: it is."""


class _Minute:
    """What was asked for in one minute."""

    __slots__ = ("asked", "refused", "shares")

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.shares: dict[str, float] = {}
        self.refused: dict[str, str] = {}  # why, by conversation


class Admission:
    """The door to the evidence."""

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}

    def refuses(self, name: str, caller: str, asked: float) -> str:
        """Return why a conversation is no evidence, "" when it is. Asked again it says the same.

        Args:
            name: what stands for the conversation.
            caller: hash of its caller's key, "" when unknown: then it is.
            asked: unix time of its first request.
        """
        number = int(asked // 60.0)
        minute = self._minute(number)
        if minute is None:
            return "too_late"
        refused = minute.refused.get(name)
        if refused or not caller:
            return refused or ""
        minute.asked[caller] += 1
        share = minute.shares.get(caller)
        if share is None:  # once for all of them, as more of the minute before may become known
            share = minute.shares[caller] = self._share(caller, number - 1)
        if share < 1.0 and crc32(name.encode()) >= share * 2**32:
            return self.refuse(name, asked, "caller_limit")
        return ""

    def refuse(self, name: str, asked: float, why: str) -> str:
        """Refuse a conversation for good, and return why."""
        minute = self._minute(int(asked // 60.0))
        if minute is not None:
            minute.refused[name] = why
        return why

    def pass_time(self, now: float) -> None:
        """Forget minutes that are yet to come: a clock was ahead, and what is asked for in time
        would else be too late."""
        for number in [one for one in self._minutes if one > now // 60.0 + 1]:
            del self._minutes[number]

    def _minute(self, number: int) -> _Minute | None:
        """Return a minute, None for one that is remembered no more."""
        minute = self._minutes.get(number)
        if minute is None:
            if number <= max(self._minutes, default=number) - KEPT:
                return None
            minute = self._minutes[number] = _Minute()
            for old in [one for one in self._minutes if one <= number - KEPT]:
                del self._minutes[old]
        return minute

    def _share(self, caller: str, number: int) -> float:
        before = self._minutes.get(number)
        if before is None or len(before.asked) < ACTIVE:
            return 1.0
        return min(1.0, ADMITTED / max(1, before.asked[caller]))

    def to_document(self) -> dict[str, Any]:
        """Return the last minutes as JSON; who was refused is left out, and decided alike again."""
        return {str(number): [dict(minute.asked), minute.shares]
                for number, minute in self._minutes.items()}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made."""
        self._minutes = {}
        for number, (asked, shares) in document.items():
            minute = self._minutes[int(number)] = _Minute()
            minute.asked = Counter({caller: int(count) for caller, count in asked.items()})
            minute.shares = {caller: float(share) for caller, share in shares.items()}
