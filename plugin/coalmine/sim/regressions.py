"""What is wrong with a candidate, done to one turn of a healthy one."""

from __future__ import annotations

from collections.abc import Callable

from coalmine.sim.scenarios import Event, Regression, Scenario

SLOWEST = 1.7507
"""Normal score above which the slowest 4 % lie."""
SLOW_SHARE = 0.05
TIMEOUT = 60.0
"""Seconds after which whoever waits for a hanging candidate gives up."""

MEASURES = ("ttft", "inter_token", "seconds", "tokens", "cost", "score")
"""What is measured of an answer; a failure has none of it."""

Worsen = Callable[[Event, float], None]
"""Changes the event of a turn; told its normal score too, how slow it is whatever the hour."""


def worsening(scenario: Scenario, mishap: Callable[[], float], worst: str) -> Worsen | None:
    """Return what befalls each turn of the candidate, None for a healthy one.

    Args:
        scenario: what is wrong.
        mishap: draws from 0 to 1.
        worst: the key of the caller who calls most.
    """
    size, errors = scenario.size, scenario.errors
    more = (size - errors) / (1.0 - errors)

    def fails(event: Event, _: float) -> None:
        if mishap() < more:
            fail(event)

    def slows(event: Event, _: float) -> None:
        _slow(event, size)

    def slows_the_slowest(event: Event, score: float) -> None:
        if score > SLOWEST:
            _slow(event, size)

    def slows_some(event: Event, _: float) -> None:
        if mishap() < SLOW_SHARE:
            _slow(event, size)

    def scores_less(event: Event, _: float) -> None:
        if "score" in event:
            event["score"] = max(0.0, event["score"] - size)

    def hangs(event: Event, _: float) -> None:
        if mishap() < size:
            fail(event, "timeout")
            event["t"] += TIMEOUT
            event["seconds"] = TIMEOUT

    def fails_one_caller(event: Event, _: float) -> None:
        if event["key"] == worst and mishap() < size:
            fail(event)

    return {
        Regression.NONE: None,
        Regression.ERRORS: fails,
        Regression.TTFT: slows,
        Regression.TAIL: slows_the_slowest,
        Regression.SLOW: slows_some,
        Regression.SCORE: scores_less,
        Regression.HANG: hangs,
        Regression.KEY: fails_one_caller,
    }[scenario.regression]


def fail(event: Event, outcome: str = "error") -> None:
    """Make it the event of a failed turn, of which nothing is measured."""
    event["outcome"] = outcome
    for measure in MEASURES:
        event.pop(measure, None)


def _slow(event: Event, factor: float) -> None:
    if "ttft" in event:
        longer = event["ttft"] * (factor - 1.0)
        event["ttft"] += longer
        if "seconds" in event:
            event["seconds"] += longer
