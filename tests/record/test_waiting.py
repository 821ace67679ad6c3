"""What is told of attempts that still run, made again from how they ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Attempt, Outcome
from coalmine.record.events import Closed
from coalmine.record.waiting import AHEAD, with_waiting
from coalmine.routing import Arm


def attempt(at: float, seconds: float, **fields: Any) -> Attempt:
    return Attempt(**{
        "at": at, "service": "chat", "release": "v2", "arm": Arm.CANDIDATE, "deployment": "",
        "outcome": Outcome.OK, "conversation": "c", "chance": 0.1, "first_turn": True,
        "evidence": True, "seconds": seconds, **fields})


def test_events_stay_in_the_order_of_time() -> None:
    """Whatever is put between them."""
    ended = [attempt(10.0 * number, 7.0 * (number % 9), conversation=f"c{number}")
             for number in range(1, 200)]
    told = list(with_waiting([*ended, Closed(2000.0, "c1")]))
    assert [event.at for event in told] == sorted(event.at for event in told)
    assert [event for event in told if event in ended] == ended
    assert told[-1] == Closed(2000.0, "c1")


@pytest.mark.parametrize(("seconds", "first_turn", "waited"), [
    (0.5, True, []), (20.0, True, [1.0]), (20.0, False, []), (70.0, True, [1.0, 30.0, 45.0, 67.5]),
    (40.0, False, [30.0]),
])
def test_it_is_told_of_first_turns_and_of_what_takes_long(
    seconds: float, first_turn: bool, waited: list[float]
) -> None:
    """When it had run for so long."""
    *before, end = with_waiting([attempt(1000.0, seconds, first_turn=first_turn)])
    assert isinstance(end, Attempt)
    assert end.outcome is Outcome.OK
    assert [event.at for event in before] == [1000.0 - seconds + after for after in waited]
    assert all(isinstance(event, Attempt) and event.outcome is Outcome.WAITING
               for event in before)


def test_it_tells_no_more_than_was_known() -> None:
    """The first token when it had come, and nothing that is known at the end only."""
    asked, begun, long, end = with_waiting([attempt(
        100.0, 40.0, ttft=5.0, inter_token=0.02, tokens=1700, cost=0.1, score=0.5)])
    assert isinstance(asked, Attempt)
    assert isinstance(begun, Attempt)
    assert isinstance(long, Attempt)
    assert (asked.ttft, asked.inter_token, asked.seconds) == (1.0, None, 1.0)
    assert (begun.ttft, begun.inter_token, begun.seconds) == (5.0, None, 5.0)
    assert (long.ttft, long.inter_token, long.seconds) == (5.0, 0.02, 30.0)
    assert (long.tokens, long.cost, long.score) == (None, None, None)
    assert isinstance(end, Attempt)
    assert end.tokens == 1700


@pytest.mark.parametrize("fields", [{"evidence": False}, {"seconds": 0.0}])
def test_of_what_is_no_evidence_nothing_is_told(fields: dict[str, Any]) -> None:
    """Nor of what does not say how long it took."""
    assert len(list(with_waiting([attempt(**{"at": 50.0, "seconds": 40.0, **fields})]))) == 1


def test_of_what_took_longer_than_is_read_ahead_it_is_told_from_there_on(
    make: Callable[[float], list[Attempt]]
) -> None:
    """Order is kept all the same."""
    told = list(with_waiting(make(AHEAD + 100.0)))
    assert [event.at for event in told] == sorted(event.at for event in told)


@pytest.fixture
def make() -> Callable[[float], list[Attempt]]:
    """Short attempts, and one that takes so long."""

    def made(seconds: float) -> list[Attempt]:
        short = [attempt(float(number), 0.5, conversation=f"s{number}") for number in range(900)]
        return sorted([*short, attempt(890.5, seconds)], key=lambda one: one.at)

    return made
