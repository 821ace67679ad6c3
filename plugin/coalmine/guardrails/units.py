"""The unit of evidence: a conversation that either arm could have got.

Turns of one conversation resemble each other, so a test that counts each request takes one unlucky
user for many: measured, 63 to 96 % false rollbacks in a healthy day. Each detector therefore takes
at most one outcome of a conversation: whether it failed at its **start**, its first failure, the
mean over its **opening**, or that over what came **later**.

When an outcome is told must not depend on the arm, or what is known at a moment would be of the
faster arm, or of its failures only. So these parts end so long after the first *request*, and what
runs then counts by what is known of it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import IntEnum
from typing import Any

from coalmine.guardrails.attempt import Attempt

START = 5.0
"""Seconds within which a first attempt that fails has failed at once."""

OPENING = 90.0
"""Seconds that an opening lasts at least: long enough for some four turns."""

LATER = 900.0
"""Seconds after which the later part ends."""

INSTANT = 0.01
"""Seconds within which two times that are told together are the same."""


class Stage(IntEnum):
    """Which part of a conversation runs."""

    START = 0
    OPENING = 1
    LATER = 2
    OVER = 3


class Unit:
    """One conversation.

    Attributes:
        candidate: whether the candidate has it.
        chance: the candidate's chance when it was drawn, strictly between 0 and 1.
        caller: hash of its caller's key, "" when unknown.
        asked: unix time of its first request.
        ends: unix time at which its opening ends.
        seen: unix time of its newest attempt's end; minus infinity when it is known to have ended.
        answered: turns that were answered, or given up by their client.
        running: the turn that runs, as it was last told of; None when none is known to.
        first: whether its first attempt is still awaited: until then only lower bounds came.
        failed: whether an attempt of it has failed; for measures it ended there, on both arms,
            as the candidate's are moved to stable then.
        told: unix time at which its first failure is told, for ever while there is none to tell.
        worked: seconds that its ended attempts have taken, without the one that is being told.
        stage: which part of it runs.
        notes: what each detector keeps of it, by the detector's place; None for nothing.
    """

    __slots__ = ("answered", "asked", "caller", "candidate", "chance", "ends", "failed", "first",
                 "notes", "running", "seen", "stage", "told", "worked")

    def __init__(self, *, candidate: bool, chance: float, caller: str, asked: float, ends: float,
                 seen: float, detectors: int) -> None:
        self.candidate = candidate
        self.chance = chance
        self.caller = caller
        self.asked = asked
        self.ends = ends
        self.seen = seen
        self.answered = 0
        self.running: Attempt | None = None
        self.first = True
        self.failed = False
        self.told = math.inf
        self.worked = 0.0
        self.stage = Stage.START
        self.notes: list[Any] = [None] * detectors

    @property
    def open(self) -> bool:
        """Whether its opening, of which its start is part, still runs."""
        return self.stage <= Stage.OPENING

    @property
    def due(self) -> float:
        """Unix time at which the part that runs ends, for ever where none does."""
        if self.stage is Stage.START:
            return min(self.ends, self.asked + START)
        if self.stage is Stage.OPENING:
            return self.ends
        return self.last if self.stage is Stage.LATER else math.inf

    @property
    def last(self) -> float:
        """Unix time at which its last part ends."""
        return max(self.ends, self.asked + LATER)

    @property
    def hangs(self) -> bool:
        """Whether its turn has run, at the end of the part, as long as an opening lasts."""
        running = self.running
        return running is not None and (
            self.due - (running.at - running.seconds) > self.ends - self.asked - INSTANT)

    def running_till(self, at: float) -> Attempt | None:
        """Return the turn that runs with what is known of it at a time, None without one.

        It was last told of some time ago, up to a third of what it has run for.
        """
        running = self.running
        more = 0.0 if running is None else at - running.at
        if running is None or more <= 0.0:
            return running
        # Without a first token yet, that takes at least as long too.
        begun = running.ttft is None or running.ttft < running.seconds - INSTANT
        return replace(running, at=at, seconds=running.seconds + more,
                       ttft=running.ttft if begun else running.seconds + more)

    def to_row(self, name: str, packed: list[Any]) -> list[Any]:
        """Return it as a JSON array, for a take-over; short, as there are thousands. A turn that
        runs is left out: it will be told of again.

        Args:
            name: its name; packed: its notes as JSON.
        """
        flags = self.candidate | self.first << 1 | self.failed << 2 | self.stage << 3
        row = [name, int(flags), self.chance, self.caller, round(self.asked, 3),
               round(self.ends, 3), None if math.isinf(self.seen) else round(self.seen, 3),
               self.answered,
               None if math.isinf(self.told) else round(self.told, 3), round(self.worked, 3)]
        return row if all(note is None for note in packed) else [*row, packed]


def unit_of(row: list[Any], detectors: int) -> tuple[str, Unit, list[Any]]:
    """Return the name and the unit that :meth:`Unit.to_row` wrote, and its notes as packed.

    Raises:
        ValueError: when it is of another number of detectors.
    """
    name, flags, chance, caller, asked, ends, seen, answered, told, worked, *rest = row
    packed = rest[0] if rest else [None] * detectors
    if len(packed) != detectors:
        raise ValueError(f"notes of {len(packed)} detectors instead of {detectors}")
    unit = Unit(candidate=bool(flags & 1), chance=float(chance), caller=str(caller),
                asked=float(asked), ends=float(ends), detectors=detectors,
                seen=-math.inf if seen is None else float(seen))
    unit.answered = int(answered)
    unit.told = math.inf if told is None else float(told)
    unit.worked = float(worked)
    unit.first, unit.failed, unit.stage = bool(flags & 2), bool(flags & 4), Stage(flags >> 3)
    return str(name), unit, packed
