"""How long stable has worked for a conversation when it has ended a turn."""

from __future__ import annotations

import json

import pytest

from coalmine.guardrails.pace import KNOWN, MOSTLY, Pace


@pytest.fixture
def pace() -> Pace:
    """Of conversations whose turns end every ten seconds, up to the fifth."""
    found = Pace()
    for _ in range(50):
        for number in range(5):
            found.add(number, 10.0 * (number + 1))
    return found


def test_it_waits_until_most_are_as_far(pace: Pace) -> None:
    """Half as long again as the mean."""
    assert pace.usual(2) == pytest.approx(MOSTLY * 30.0)


def test_what_nobody_has_reached_yet_is_reckoned_by_what_was(pace: Pace) -> None:
    """When a rollout begins, a quick candidate is the first to get there."""
    assert pace.usual(9) == pytest.approx(MOSTLY * 100.0)
    assert Pace().usual(3) == 0.0


def test_it_follows_what_changes(pace: Pace) -> None:
    """An hour later the same turns may take twice as long."""
    for _ in range(2000):
        pace.add(2, 60.0)
    assert pace.usual(2) == pytest.approx(MOSTLY * 60.0, rel=0.01)


def test_it_is_bounded(pace: Pace) -> None:
    """However long a conversation goes on, and where turns were missed."""
    for number in (7, *range(5, 1000)):
        pace.add(number, 10.0 * (number + 1))
    assert len(pace.to_document()[0]) == KNOWN
    assert pace.usual(999) == pytest.approx(MOSTLY * 10_000.0)


def test_a_take_over_goes_on(pace: Pace) -> None:
    """By way of JSON; what is none is refused."""
    other = Pace()
    other.restore(json.loads(json.dumps(pace.to_document())))
    assert all(other.usual(number) == pace.usual(number) for number in range(9))
    with pytest.raises(ValueError, match="2 times of 1 turns"):
        other.restore([[1.0, 2.0], [1.0]])
