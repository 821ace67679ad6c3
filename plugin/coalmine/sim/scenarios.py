"""Scenarios: what traffic a canary meets and what is wrong with the candidate, as data."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

DAY = 86_400.0
"""Seconds."""

Event = dict[str, Any]
"""What happens, as one JSON object: see :func:`coalmine.sim.conversations.events`."""


class Regression(str, Enum):
    """What is wrong with the candidate. Below each: what a scenario's `size` is then."""

    NONE = "none"
    ERRORS = "errors"
    """Share of turns that fail, more than the scenario's `errors`."""
    TTFT = "ttft"
    """Factor on the time to first token."""
    TAIL = "tail"
    """Factor on the time to first token of the slowest 4 % of turns."""
    SLOW = "slow"
    """Factor on the time to first token of a random 5 % of turns."""
    SCORE = "score"
    """What is taken off the score."""
    HANG = "hang"
    """Share of turns that never end, until they time out after a minute."""
    KEY = "key"
    """Share of turns that fail of the caller who calls most."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The traffic of one rollout.

    Attributes:
        name: what it is called.
        about: one line for people.
        rate: requests per second, on the average of a day.
        weight: the candidate's share of new conversations, in percent.
        seconds: how long it lasts.
        errors: share of turns that fail without a regression, on both arms.
        regression: what is wrong with the candidate.
        size: how much, see :class:`Regression`.
        onset: seconds from the beginning to the candidate's first bad turn.
        swing: whether load, errors and latencies change with the hour.
        incidents: whether two incidents a day hit both arms.
        score: whether answers are scored.
        answers: whether tokens, their times, whole times and cost are made too.
        keys: how many callers share the conversations, the k-th in proportion to 1/k; 0: none
            is told.
        seed: of all that is random.

    Raises:
        ValueError: naming the field, its value and what to give.
    """

    name: str
    about: str = ""
    rate: float = 10.0
    weight: float = 5.0
    seconds: float = DAY
    errors: float = 0.01
    regression: Regression = Regression.NONE
    size: float = 0.0
    onset: float = 0.0
    swing: bool = True
    incidents: bool = True
    score: bool = True
    answers: bool = False
    keys: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        alone = self.regression is Regression.KEY and self.keys < 1
        for name, good, hint in (
            ("rate", 0.0 < self.rate < math.inf, "give requests per second, more than 0"),
            ("weight", 0.0 <= self.weight <= 100.0, "give percent, 0 to 100"),
            ("seconds", 0.0 < self.seconds < math.inf, "give seconds, more than 0"),
            ("errors", 0.0 <= self.errors <= 0.2, "give a share, 0 to 0.2"),
            ("size", 0.0 <= self.size < math.inf, "give 0 or more"),
            ("onset", 0.0 <= self.onset < math.inf, "give seconds, 0 or more"),
            ("keys", self.keys >= 0 and not alone, "give the number of callers, 0 tells none"),
        ):
            if not good:
                raise ValueError(f"{name}={getattr(self, name)!r}: {hint}")


NAMED = {scenario.name: scenario for scenario in (
    Scenario("healthy", "nothing is wrong: all that speaks against the candidate is noise",
             answers=True),
    Scenario("dead", "every request of the candidate fails",
             regression=Regression.ERRORS, size=1.0),
    Scenario("errors", "1 % of requests fail, of the candidate's 5 %",
             regression=Regression.ERRORS, size=0.05),
    Scenario("errors-rare", "0.2 % of requests fail, of the candidate's 0.4 %",
             errors=0.002, regression=Regression.ERRORS, size=0.004, seconds=4 * DAY),
    Scenario("ttft", "the candidate's first token takes 1.3 times as long",
             regression=Regression.TTFT, size=1.3),
    Scenario("tail", "the candidate's slowest 4 % of first tokens take twice as long",
             regression=Regression.TAIL, size=2.0),
    Scenario("slow", "5 % of the candidate's first tokens take ten times as long",
             regression=Regression.SLOW, size=10.0),
    Scenario("score", "the candidate's answers score 0.85 instead of 0.90",
             regression=Regression.SCORE, size=0.05),
    Scenario("hang", "the candidate never answers: every request times out after a minute",
             regression=Regression.HANG, size=1.0),
    Scenario("one-key", "one of 20 callers causes all errors: all that he asks the candidate fails",
             errors=0.0, incidents=False, regression=Regression.KEY, size=1.0, keys=20),
)}
"""The scenarios that have a name."""


def named(name: str, **changes: Any) -> Scenario:
    """Return the scenario of that name, with fields changed that are not None.

    Raises:
        ValueError: when there is none, or a field is senseless.
    """
    if name not in NAMED:
        near = difflib.get_close_matches(name, NAMED, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(NAMED)}"
        raise ValueError(f"no scenario is called {name!r}: {hint}")
    return replace(NAMED[name], **{field: value for field, value in changes.items()
                                   if value is not None})
