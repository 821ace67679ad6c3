"""What the shared state is owed: kept in order, bounded, and written once it answers."""

from collections import Counter
from typing import Any

import pytest

from coalmine.gateway import owed as module
from coalmine.gateway.owed import Debt, Owed
from coalmine.state import State, StateUnreachable

FIRST, SECOND, THIRD = 0, 101, 102


class Told:
    """An Owed with what it counts and lets be forgotten."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.forgotten: list[bytes] = []
        self.owed = Owed(self.forgotten.append, self.count)

    def count(self, *labels: str) -> None:
        self.counted[labels] += 1


@pytest.fixture
def told() -> Told:
    """One that owes nothing."""
    return Told()


def key(number: int) -> bytes:
    """Return a conversation's key."""
    return number.to_bytes(8, "big")


def test_a_pin_is_known_until_it_is_written(told: Told, state: State) -> None:
    """Then the state knows it."""
    told.owed.add(key(1), Debt(FIRST))
    assert told.owed.get(key(1)) == FIRST
    told.owed.pay(state, 60)
    assert (told.owed.get(key(1)), len(told.owed)) == (None, 0)
    assert state.claim(key(1), SECOND) == FIRST
    assert told.forgotten == [key(1)]


def test_a_pin_that_another_wrote_stays(told: Told, state: State) -> None:
    """Claimed by another, or moved by another."""
    state.claim(key(1), SECOND)
    state.claim(key(2), THIRD)
    told.owed.add(key(1), Debt(FIRST))
    told.owed.add(key(2), Debt(FIRST, held=SECOND))
    told.owed.pay(state, 60)
    assert [state.claim(key(n), FIRST) for n in (1, 2)] == [SECOND, THIRD]
    assert told.forgotten == [key(1), key(2)]


@pytest.mark.parametrize("held", [None, THIRD])
def test_a_pin_that_is_moved_again_is_written_once(
    told: Told, state: State, held: int | None
) -> None:
    """In the place of what the state holds, not of what it never learnt of."""
    if held is not None:
        state.claim(key(1), held)
    told.owed.add(key(1), Debt(FIRST, held=held))
    told.owed.add(key(1), Debt(SECOND, held=FIRST))
    assert told.owed.get(key(1)) == SECOND
    told.owed.pay(state, 60)
    assert state.claim(key(1), FIRST) == SECOND


def test_a_pin_that_is_moved_while_it_is_written_is_still_owed(
    told: Told, state: State
) -> None:
    """In the place of what has just been written."""
    class Slow:
        def claim(self, name: bytes, code: int) -> int | None:
            told.owed.add(name, Debt(SECOND, held=FIRST))
            return state.claim(name, code)

    told.owed.add(key(1), Debt(FIRST))
    told.owed.pay(Slow(), 60)  # type: ignore[arg-type]
    assert told.owed.get(key(1)) == SECOND
    told.owed.pay(state, 60)
    assert state.claim(key(1), FIRST) == SECOND


def test_what_was_not_written_is_still_owed(told: Told, state: State) -> None:
    """A state that goes away again in between loses nothing."""
    class Going:
        calls = 0

        def claim(self, *pin: Any) -> int | None:
            self.calls += 1
            if self.calls == 3:
                raise StateUnreachable("away")
            return state.claim(*pin)

    for number in range(5):
        told.owed.add(key(number), Debt(SECOND))
    with pytest.raises(StateUnreachable):
        told.owed.pay(Going(), 60)  # type: ignore[arg-type]
    assert [told.owed.get(key(n)) for n in range(5)] == [None, None, SECOND, SECOND, SECOND]
    told.owed.pay(state, 60)
    assert [state.claim(key(n), FIRST) for n in range(5)] == [SECOND] * 5


def test_a_moved_conversation_whose_pin_is_gone_gets_a_new_one(told: Told, state: State) -> None:
    """Else it would be drawn again."""
    told.owed.add(key(1), Debt(FIRST, held=SECOND))
    told.owed.pay(state, 60)
    assert state.claim(key(1), THIRD) == FIRST


def test_a_pin_that_may_have_been_written_all_the_same_is_replaced(
    told: Told, state: State
) -> None:
    """Its answer was lost, and the conversation was served otherwise."""
    state.claim(key(1), SECOND)
    told.owed.add(key(1), Debt(FIRST, doubtful=SECOND, instead=THIRD))
    told.owed.add(key(2), Debt(FIRST, doubtful=SECOND, instead=THIRD))
    told.owed.pay(state, 60)
    assert [state.claim(key(n), SECOND) for n in (1, 2)] == [THIRD, FIRST]


def test_it_is_paid_for_so_long_at_most(told: Told, state: State) -> None:
    """A slow state leaves the rest for the next time."""
    for number in range(3):
        told.owed.add(key(number), Debt(FIRST))
    told.owed.pay(state, -1)
    assert len(told.owed) == 3


def test_no_more_is_kept_than_there_is_room_for(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is dropped is counted. Who was told that he moved comes before who only began."""
    monkeypatch.setattr(module, "BEGINS", 5)
    monkeypatch.setattr(module, "ALL", 6)
    for number in range(7):
        told.owed.add(key(number), Debt(SECOND))
    told.owed.add(key(0), Debt(THIRD, held=SECOND))
    assert (len(told.owed), told.owed.get(key(0))) == (5, THIRD)
    for number in range(10, 13):
        told.owed.add(key(number), Debt(SECOND, held=THIRD))
    assert len(told.owed) == 6
    assert told.counted["coalmine_dropped_total", "pin"] == 4
