"""The unit of evidence: a conversation that either arm could have got.

Turns of one conversation resemble each other, so a test that counts each request takes one unlucky
user for many: measured, 63 to 96 % false rollbacks in a healthy day. Each detector therefore takes
at most one outcome of a conversation: its first turn, its first bad event, or its **opening**, all
that was seen within :data:`OPENING` of its beginning.
"""

from __future__ import annotations

from typing import Any

OPENING = 90.0
"""Seconds after which a conversation's mean is taken as it is. Long enough for some four turns, and
nobody waits for the conversation to end. It must not depend on the arm, so it is a time."""


class Unit:
    """One conversation.

    Attributes:
        candidate: whether the candidate has it.
        chance: the candidate's chance when it was drawn, strictly between 0 and 1.
        caller: hash of its caller's key, "" when unknown.
        began: unix time of its first attempt's end.
        seen: unix time of its newest attempt's end.
        first: whether its first attempt is still awaited: until then only lower bounds came.
        failed: whether an attempt of it has failed; for measures it ended there, on both arms,
            as the candidate's are moved to stable then.
        open: whether its opening still runs.
        notes: what each detector keeps of it, by the detector's place; None for nothing.
    """

    __slots__ = ("began", "caller", "candidate", "chance", "failed", "first", "notes", "open",
                 "seen")

    def __init__(self, *, candidate: bool, chance: float, caller: str, began: float,
                 detectors: int) -> None:
        self.candidate = candidate
        self.chance = chance
        self.caller = caller
        self.began = self.seen = began
        self.first = True
        self.failed = False
        self.open = True
        self.notes: list[Any] = [None] * detectors

    def to_row(self, packed: list[Any]) -> list[Any]:
        """Return it as a JSON array, for a take-over; short, as there are thousands.

        Args:
            packed: its notes as JSON.
        """
        flags = self.candidate | self.first << 1 | self.failed << 2 | self.open << 3
        row = [int(flags), self.chance, self.caller, round(self.began, 3), round(self.seen, 3)]
        return [*row, packed] if any(packed) else row


def unit_of(row: list[Any], detectors: int) -> tuple[Unit, list[Any]]:
    """Return the unit that :meth:`Unit.to_row` wrote, and its notes as they were packed.

    Raises:
        ValueError: when it is of another number of detectors.
    """
    flags, chance, caller, began, seen, *rest = row
    packed = rest[0] if rest else [None] * detectors
    if len(packed) != detectors:
        raise ValueError(f"notes of {len(packed)} detectors instead of {detectors}")
    unit = Unit(candidate=bool(flags & 1), chance=float(chance), caller=str(caller),
                began=float(began), detectors=detectors)
    unit.seen = float(seen)
    unit.first, unit.failed, unit.open = bool(flags & 2), bool(flags & 4), bool(flags & 8)
    return unit, packed
