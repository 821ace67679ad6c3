"""Wealth: stakes, cash, and whose doing it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.guardrails.wealth import CALLERS, CASH, RELEASED, RICH, Wealth


def wealth(cash: float = CASH) -> Wealth:
    return Wealth([0.5, 0.5], horizon=3600.0, cash=cash)


def test_it_begins_with_a_stake_of_one() -> None:
    """Cash and parts together."""
    assert wealth().total == pytest.approx(1.0)


def test_half_of_the_cash_is_handed_out_over_the_horizon_and_none_is_made() -> None:
    """Minute by minute or at once; of what begins much later some is always left."""
    one, other = wealth(), wealth()
    for held in (one, other):
        held.pass_time(0.0)
    for minute in range(1, 61):
        one.pass_time(60.0 * minute)
        assert one.total == pytest.approx(1.0)
    other.pass_time(3600.0)
    assert one.cash == pytest.approx(CASH / 2)
    assert other.cash == pytest.approx(CASH / 2)
    one.pass_time(99 * 3600.0)
    assert one.total == pytest.approx(1.0)
    assert one.cash == pytest.approx(CASH / 100)


def test_a_dead_candidate_is_seen_soon_however_long_all_was_well() -> None:
    """A month of healthy days beyond a horizon of an hour costs some more conversations."""
    one = wealth()
    one.pass_time(0.0)
    for minute in range(1, 30 * 24 * 60):
        one.pass_time(60.0 * minute)
        one.bet([10.0, 100.0], candidate=False, null=0.5)
    for _ in range(12):
        one.bet([10.0, 1000.0], candidate=True, null=0.05)
    assert one.total > 1000.0


def test_a_clock_that_goes_back_hands_nothing_out_twice() -> None:
    """Workers' clocks differ."""
    one = wealth()
    for now in (600.0, 0.0, 600.0, 300.0, 600.0):
        one.pass_time(now)
    assert one.cash == pytest.approx(CASH)


def test_what_was_lost_before_the_onset_does_not_hide_what_comes_late() -> None:
    """Cash of the later minutes has not been lost with the rest."""
    one = wealth()
    one.pass_time(0.0)
    for minute in range(1, 31):
        one.pass_time(60.0 * minute)
        for _ in range(20):
            one.bet([10.0, 100.0], candidate=False, null=0.5)
    assert sum(one.parts) < 0.01
    for minute in range(31, 41):
        one.pass_time(60.0 * minute)
        one.bet([10.0, 100.0], candidate=True, null=0.1)
    assert one.total > 1000.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3)), max_size=30))
def test_without_a_caller_it_is_what_it_would_have_been(
    bets: list[tuple[str, bool, int]]
) -> None:
    """Exactly, cash included, from the first of his outcomes that raised it on."""
    one = wealth()
    others: dict[str, Wealth] = {}
    now = 0.0
    one.pass_time(now)
    for caller, candidate, minutes in bets:
        now += 60.0 * minutes
        for held in (one, *others.values()):
            held.pass_time(now)
        if candidate and caller not in others:
            others[caller] = Wealth([0.5, 0.5], horizon=3600.0)
            others[caller].restore(one.to_document())
        for name, held in others.items():
            if name != caller:
                held.bet([3.0, 30.0], candidate=candidate, null=0.2)
        one.bet([3.0, 30.0], candidate=candidate, null=0.2, caller=caller)
    worst = one.without_worst()
    if not others:
        assert worst is None
    else:
        assert worst is not None
        assert worst[1] == pytest.approx(min(held.total for held in others.values()))


def test_the_worst_caller_is_who_made_it() -> None:
    """Without him nothing is left."""
    one = wealth()
    for _ in range(5):
        one.bet([10.0, 100.0], candidate=True, null=0.01, caller="loud")
        one.bet([10.0, 100.0], candidate=False, null=0.01, caller="quiet")
    assert one.total > 1000.0
    worst = one.without_worst()
    assert worst is not None
    assert worst[0] == "loud"
    assert worst[1] < 1.0


def test_callers_are_bounded() -> None:
    """A flood of keys costs no memory; the one who matters stays."""
    one = wealth()
    for _ in range(3):
        one.bet([10.0, 100.0], candidate=True, null=0.1, caller="loud")
    for number in range(CALLERS + 100):
        one.bet([1.01, 1.02], candidate=True, null=0.5, caller=f"k{number}")
    assert len(one._others) <= CALLERS
    worst = one.without_worst()
    assert worst is not None
    assert worst[0] == "loud"


def test_it_never_overflows() -> None:
    """A million failures in a row are a finite number."""
    one = wealth()
    for _ in range(2000):
        one.bet([1000.0, 1e6], candidate=True, null=0.01, caller="k")
    assert RICH <= one.total < float("inf")


def test_a_flood_of_what_was_withheld_does_not_overflow() -> None:
    """Gains of a thousand conversations at 90 % are released at once where the weight falls."""
    one = Wealth([1.0], horizon=3600.0, cash=0.0)
    for _ in range(1000):
        one.withhold([9.0])
    one.release(0.001)
    assert one.total == RICH


def test_another_kind_of_bettor_cannot_go_on() -> None:
    """One part more is another test."""
    with pytest.raises(ValueError, match="2 parts instead of 3"):
        Wealth([0.3, 0.3, 0.4], horizon=60.0).restore(wealth().to_document())


def test_stables_gains_wait_for_the_candidates_outcomes() -> None:
    """A candidate whose conversations go missing must not look worse for that."""
    one = Wealth([1.0], horizon=3600.0, cash=0.0)
    for _ in range(500):
        one.withhold([1.05])
    assert one.total == 1.0
    one.settle([0.5])
    one.release(0.05)
    assert one.total == pytest.approx(0.5 * 1.05 ** (19 * RELEASED))


def test_losses_do_not_wait() -> None:
    """Of several parts some gain by the same outcome, and some lose."""
    one = Wealth([0.5, 0.5], horizon=3600.0, cash=0.0)
    one.withhold([0.5, 2.0])
    assert one.parts == [0.25, 0.5]
    one.release(0.5)
    assert one.parts == pytest.approx([0.25, 1.0])


def test_what_a_caller_released_is_his_doing() -> None:
    """Stable's good conversations alone say nothing against the candidate."""
    one = Wealth([1.0], horizon=3600.0, cash=0.0)
    for number in range(200):
        one.withhold([1.05], caller=f"k{number}")
    for _ in range(10):
        one.settle([15.0], caller="loud")
        one.release(0.05, caller="loud")
    assert one.total > 1e6
    worst = one.without_worst()
    assert worst is not None
    assert worst[0] == "loud"
    assert worst[1] == pytest.approx(1.0)


def test_cash_is_withheld_like_the_wealth_that_it_joins() -> None:
    """What was not settled yet would have multiplied other money than that of later minutes."""
    waits, told = (Wealth([1.0], horizon=3600.0) for _ in range(2))
    for held in (waits, told):
        held.pass_time(0.0)
    for minute in range(1, 200):
        waits.withhold([1.05])
        told.settle([1.05])
        for held in (waits, told):
            held.pass_time(60.0 * minute)
        assert waits.total <= told.total * (1.0 + 1e-9)
    for _ in range(10):
        waits.release(0.05)
    assert waits.total == pytest.approx(told.total)
