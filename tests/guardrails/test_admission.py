"""Which conversations of a caller who floods are evidence, whatever their arm."""

from __future__ import annotations

import json

import pytest

from coalmine.guardrails.admission import ACTIVE, ADMITTED, KEPT, Admission


def flooded(flood: int, *, callers: int = ACTIVE, minute: int = 0) -> Admission:
    """After a minute in which one caller asked for so many, and others for one each."""
    door = Admission()
    for number in range(flood):
        door.refuses(f"f{minute}-{number}", "flood", 60.0 * minute)
    for other in range(callers - 1):
        door.refuses(f"o{minute}-{other}", f"k{other}", 60.0 * minute)
    return door


def admitted(door: Admission, count: int, at: float = 60.0, caller: str = "flood") -> list[str]:
    return [name for name in (f"{caller}-n{number}" for number in range(count))
            if not door.refuses(name, caller, at)]


def test_who_asked_for_more_than_a_hundred_has_a_hundred_admitted() -> None:
    """In the next minute, whoever else asks for one is admitted."""
    door = flooded(10 * ADMITTED)
    assert len(admitted(door, 10 * ADMITTED)) == pytest.approx(ADMITTED, rel=0.3)
    assert len(admitted(door, 50, caller="k1")) == 50


@pytest.mark.parametrize(("flood", "callers", "caller"), [
    (ADMITTED, ACTIVE, "flood"), (1000, ACTIVE - 1, "flood"), (1000, ACTIVE, ""),
])
def test_nobody_else_is_limited(flood: int, callers: int, caller: str) -> None:
    """Not who asks for a hundred, nor who is nearly alone, nor whom nobody knows."""
    door = flooded(flood, callers=callers)
    assert len(admitted(door, 300, caller=caller)) == 300


def test_it_does_not_matter_when_one_is_heard_of_or_how_often() -> None:
    """A slow arm's conversations come late, and are told of as waiting before: those of the same
    minute are decided alike."""
    early, late = flooded(500), flooded(500)
    at_once = admitted(early, 400)
    admitted(late, 200)
    for number in range(700):  # more of the minute before, and of the next, become known
        late.refuses(f"x{number}", "flood", 0.0)
        late.refuses(f"y{number}", "flood", 120.0)
    for _ in range(3):
        assert admitted(late, 400) == at_once


def test_who_was_refused_for_another_reason_stays_so() -> None:
    """It must not depend on how often it is told of."""
    door = Admission()
    door.refuse("c", 5.0, "full")
    assert door.refuses("c", "", 5.0) == "full"
    assert not door.refuses("d", "", 5.0)


def test_it_remembers_some_minutes_only() -> None:
    """However long it goes on."""
    door = Admission()
    for minute in range(100):
        for number in range(10):
            door.refuses(f"c{minute}-{number}", f"k{number}", 60.0 * minute)
    assert len(door.to_document()) == KEPT


def test_a_take_over_decides_alike() -> None:
    """By way of JSON."""
    door, other = flooded(500), Admission()
    other.restore(json.loads(json.dumps(door.to_document())))
    assert admitted(other, 400) == admitted(door, 400)


def test_what_was_asked_for_in_a_forgotten_minute_is_refused() -> None:
    """Who was refused then is known no more, and who is still heard of is slow: of these the slower
    arm has more."""
    door = flooded(500)
    taken = set(admitted(door, 400))
    refused = [f"flood-n{number}" for number in range(400) if f"flood-n{number}" not in taken]
    assert door.refuses("later", "k1", 60.0 * (KEPT + 1)) == ""
    assert {door.refuses(name, "flood", 60.0) for name in refused} == {"too_late"}


def test_a_clock_that_was_ahead_makes_nobody_late() -> None:
    """Once it is known that those minutes are yet to come."""
    door = Admission()
    assert door.refuses("ahead", "k1", 7200.0) == ""
    assert door.refuses("now", "k1", 60.0) == "too_late"
    door.pass_time(60.0)
    assert door.refuses("now", "k1", 60.0) == ""
