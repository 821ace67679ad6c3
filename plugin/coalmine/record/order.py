"""Whether an event comes in its time, and for the first time."""

from __future__ import annotations

JUMP = 7 * 86400.0
"""Seconds that the clock may go ahead between two events."""

BELIEVED = 10
"""Events in a row that agree on a time after such a jump: then it was a gap, no wrong clock."""

LATEST = 1e11
"""Unix seconds, in the year 5138: what is later was written in milliseconds."""

REMEMBERED = 50_000
"""Events, and closed conversations, that are surely known again; at most twice as many are kept."""


class Recent:
    """What was seen of late, in bounded memory.

    Args:
        size: how many are surely remembered; up to twice as many are.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._newer: set[object] = set()
        self._older: set[object] = set()

    def __contains__(self, one: object) -> bool:
        return one in self._newer or one in self._older

    def add(self, one: object) -> None:
        """Remember it."""
        self._newer.add(one)
        if len(self._newer) >= self._size:
            self._older, self._newer = self._newer, set()


class Order:
    """The order of one stream of events.

    An event that is refused leaves no trace, but for a clock's: one event far ahead would make all
    others late, so it is refused; when :data:`BELIEVED` in a row agree, time has indeed gone on.
    """

    def __init__(self) -> None:
        self._last = -1.0  # before all times
        self._far = 0.0
        self._agreed = 0
        self._seen = Recent()
        self._closed = Recent()

    def turn(self, at: float, conversation: str, turn: int | None) -> str:
        """Take an attempt at a conversation's turn; return why it is refused, "" when it is not.

        Args:
            at: unix seconds, any number.
            conversation: "" when none stands for it; such attempts are not told apart.
            turn: its number, None when it is not known.
        """
        event = (conversation, turn, at)
        if conversation and (
            (at <= self._last and event in self._seen)
            or (turn == 0 and conversation in self._closed)
        ):
            return "duplicate"
        refused = self._time(at)
        if not refused and conversation:
            self._seen.add(event)
        return refused

    def close(self, at: float, conversation: str) -> str:
        """Take a conversation's end; return why it is refused, "" when it is not."""
        if conversation in self._closed:
            return "duplicate"
        refused = self._time(at)
        if not refused:
            self._closed.add(conversation)
        return refused

    def _time(self, at: float) -> str:
        if not 0 <= at <= LATEST:  # NaN too
            return "clock"
        if at < self._last:
            return "out_of_order"
        if at > self._last + JUMP and self._last >= 0 and not self._believed(at):
            return "clock"
        self._last = at
        self._agreed = 0
        return ""

    def _believed(self, at: float) -> bool:
        """Whether the events before this one have made the same jump."""
        agrees = self._agreed > 0 and self._far <= at <= self._far + JUMP
        self._agreed = self._agreed + 1 if agrees else 1
        self._far = at
        return self._agreed >= BELIEVED
