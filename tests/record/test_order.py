"""The order of events: in time, once, and by a clock that can be right."""

import pytest

from coalmine.record.order import BELIEVED, JUMP, LATEST, Order, Recent

DAY = 86400.0


def test_time_may_stand_still_and_never_goes_back() -> None:
    order = Order()
    assert [order.turn(at, f"c{n}", 0) for n, at in enumerate([10, 10, 11, 10.5, 11])] == [
        "", "", "", "out_of_order", ""]


def test_the_same_turn_at_the_same_time_is_a_duplicate_wherever_it_stands() -> None:
    """A second attempt at a turn has a time of its own."""
    order = Order()
    assert [order.turn(at, "c", turn) for at, turn in [(1, 0), (1, 0), (2, 0), (3, 1), (1, 0)]] == [
        "", "duplicate", "", "", "duplicate"]


def test_what_has_no_conversation_is_not_told_apart() -> None:
    """Two attempts may end at the same time."""
    order = Order()
    assert [order.turn(1, "", None) for _ in range(2)] == ["", ""]


def test_a_closed_conversation_begins_no_more() -> None:
    """A late turn may still come: it began before. Others may begin."""
    order = Order()
    assert order.turn(1, "c", 0) == ""
    assert order.close(2, "c") == ""
    assert order.turn(3, "c", 0) == "duplicate"
    assert order.turn(3, "c", 4) == ""
    assert order.turn(3, "d", 0) == ""
    assert order.close(4, "c") == "duplicate"


@pytest.mark.parametrize("at", [
    float("nan"), float("inf"), float("-inf"), -1, -0.001, LATEST * 1.01, 1.7e12, 10**400])
def test_a_time_that_cannot_be_is_a_clocks_fault(at: float) -> None:
    """Milliseconds, for example. It is as if it had never come."""
    order = Order()
    assert order.turn(at, "c", 0) == "clock"
    assert order.close(at, "c") == "clock"
    assert order.turn(5, "c", 0) == ""
    assert order.close(6, "c") == ""


def test_one_event_far_ahead_makes_no_other_late() -> None:
    """Exactly seven days are a gap; more are a wrong clock."""
    order = Order()
    assert order.turn(0, "a", 0) == ""
    assert order.turn(JUMP, "b", 0) == ""
    assert order.turn(2 * JUMP + 1, "c", 0) == "clock"
    assert order.turn(JUMP + 1, "d", 0) == ""


def test_a_clock_that_stays_ahead_is_believed_in_the_end() -> None:
    """There was nothing to record for weeks."""
    order = Order()
    order.turn(0, "before", 0)
    after = [order.turn(30 * DAY + n, f"c{n}", 0) for n in range(BELIEVED + 3)]
    assert after == ["clock"] * (BELIEVED - 1) + [""] * 4


def test_clocks_that_disagree_are_not_believed() -> None:
    """Nor is one that is ahead now and then."""
    order = Order()
    order.turn(0, "before", 0)
    assert {order.turn((30 + 10 * n) * DAY, "c", n) for n in range(2 * BELIEVED)} == {"clock"}
    for n in range(2 * BELIEVED):
        assert order.turn(n, "right", n) == ""
        assert order.turn(30 * DAY + n, "wrong", n) == "clock"


def test_memory_is_bounded_and_knows_the_newest() -> None:
    """At most twice as many as were asked for."""
    recent = Recent(size=10)
    for number in range(1000):
        recent.add(number)
        assert all(one in recent for one in range(max(0, number - 9), number + 1))
    assert sum(one in recent for one in range(1000)) <= 20
