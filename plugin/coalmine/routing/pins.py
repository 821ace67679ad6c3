"""A pin: what binds a conversation to a release.

A million pins must fit in 200 MB of Redis, and Redis shares the integers below 10 000 instead of
storing them. So a pin is one such integer: the era's number modulo 50, the number of the weight
change within it, and the arm. Names and chances are looked up in the era, which the service's
state holds once.
"""

from __future__ import annotations

from dataclasses import dataclass

from coalmine.routing.phases import Arm

ERAS_KEPT = 50
"""How many eras back a pin can name. More than 50 changes of release within a pin's life
(24 h by default) would make the oldest pins be read as a newer era's."""

CHANGES_KEPT = 100
"""Weight changes within an era, number 0 included, which means "without a chance"."""

NO_CHANCE = 0
"""Number of the weight change of a conversation that was not drawn: it is no evidence."""


UNTOLD = CHANGES_KEPT - 1
"""Number that marks a conversation which was moved to stable when the headers of its answer had
left already: its next answer tells. A plan has at most 40 steps, so no weight change has it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What a conversation was given.

    Attributes:
        era: number of the era in which it was given (a rollout, or the time between two).
        change: number of the weight change by which it was drawn; 0 when it was not drawn.
        arm: the arm, in that era, whose release serves it.
    """

    era: int
    change: int
    arm: Arm

    @property
    def code(self) -> int:
        """The pin as an integer in 0..9999."""
        arm = 1 if self.arm is Arm.CANDIDATE else 0
        return (self.era % ERAS_KEPT * CHANGES_KEPT + self.change) * 2 + arm


def read_pin(code: int, era_now: int) -> Pin:
    """Return the pin that `code` stands for, in the newest era at or before `era_now` that fits.

    Raises:
        ValueError: when `code` is not one that :attr:`Pin.code` makes.
    """
    if not 0 <= code < ERAS_KEPT * CHANGES_KEPT * 2:
        raise ValueError(f"pin code {code} is not in 0..{ERAS_KEPT * CHANGES_KEPT * 2 - 1}")
    rest, arm = divmod(code, 2)
    residue, change = divmod(rest, CHANGES_KEPT)
    era = era_now - (era_now - residue) % ERAS_KEPT
    return Pin(max(era, 0), change, Arm.CANDIDATE if arm else Arm.STABLE)
