"""What a gateway tells of attempts that still run, made again from how they ended.

Recorded events say how an attempt ended, when it had. The evidence was told before: that there is a
new conversation, that a turn has run for so long. Without that a replay would hear of quick
failures before slow good answers, and of a hang when it is over.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace

from coalmine.guardrails import Attempt, Outcome
from coalmine.record.events import Closed

AHEAD = 300.0
"""Seconds that are read ahead: of what ran longer it is told from there on."""

FIRST = 1.0
"""Seconds after which a gateway tells that an attempt is waited for."""

LONG, FURTHER = 30.0, 1.5
"""Seconds after which it is told again here, and how many times longer till the next time."""


def with_waiting(events: Iterable[Attempt | Closed]) -> Iterator[Attempt | Closed]:
    """Yield events, in order, and before an attempt's end that it was waited for."""
    held: list[tuple[float, int, Attempt | Closed]] = []
    number = 0
    for event in events:
        number += 1
        heapq.heappush(held, (event.at, number, event))
        if isinstance(event, Attempt) and event.evidence and event.seconds > FIRST:
            for waited in _moments(event):
                number += 1
                told = _so_far(event, waited)
                heapq.heappush(held, (told.at, number, told))
        while held and held[0][0] <= event.at - AHEAD:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _moments(attempt: Attempt) -> Iterator[float]:
    """Yield how long it had run when it was told of: a first turn, a slow first token, and what
    takes long."""
    least = attempt.seconds - AHEAD
    if attempt.first_turn and least <= FIRST:
        yield FIRST
    if attempt.ttft is not None and max(FIRST, least) < attempt.ttft < attempt.seconds:
        yield attempt.ttft  # else a slow first token would be told of later where answers are long
    waited = LONG
    while waited < attempt.seconds:
        if waited >= least:
            yield waited
        waited *= FURTHER


def _so_far(attempt: Attempt, waited: float) -> Attempt:
    """Return what was known of an attempt after it had run for so long."""
    began = attempt.ttft is not None and attempt.ttft <= waited
    flows = began and attempt.ttft != waited
    return replace(
        attempt, at=attempt.at - attempt.seconds + waited, outcome=Outcome.WAITING, seconds=waited,
        ttft=attempt.ttft if began or attempt.ttft is None else waited,
        inter_token=attempt.inter_token if flows else None, tokens=None, cost=None, score=None)
