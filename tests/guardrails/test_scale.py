"""Scales: how unusual a value is among stable's, first turns among first turns."""

from __future__ import annotations

import json
import random

import pytest

from coalmine.guardrails.scale import EVERY, NEEDED, Scales, share_below


def scales(values: list[float], *, first: bool = True, gap: float = 0.0) -> Scales:
    made = Scales()
    for number, value in enumerate(values):
        made.add(gap * number, value, first=first)
    return made


def log_normal(count: int, median: float = 1.0) -> list[float]:
    draw = random.Random(1)
    return [median * draw.lognormvariate(0.0, 0.5) for _ in range(count)]


def test_few_values_are_no_scale() -> None:
    """A place among a handful says nothing."""
    assert scales(log_normal(NEEDED - 1)).tables == (None, None)
    assert share_below((None, None), 1.0, first=True) is None


@pytest.mark.parametrize(("value", "share"), [(0.44, 0.05), (1.0, 0.5), (2.28, 0.95)])
def test_a_value_has_the_share_of_stables_below_it(value: float, share: float) -> None:
    """The middle has a half."""
    tables = scales(log_normal(5000)).tables
    assert share_below(tables, value, first=True) == pytest.approx(share, abs=0.02)


def test_shares_stay_between_0_and_1_and_never_fall() -> None:
    """Whatever was never seen: a bet on it is finite."""
    tables = scales(log_normal(200)).tables
    found = [share_below(tables, value, first=True) or 0.0
             for value in (0.0, 1e-9, 0.5, 1.0, 3.0, 1e3, 1e9)]
    assert found == sorted(found)
    assert 0.0 < found[0] < found[-1] < 1.0


def test_values_that_are_all_alike_are_in_the_middle() -> None:
    """Who is as fast as all others is neither fast nor slow."""
    tables = scales([0.25] * 200).tables
    assert share_below(tables, 0.25, first=True) == pytest.approx(0.5)
    assert (share_below(tables, 0.26, first=True) or 0.0) > 0.99


def test_first_turns_have_a_scale_of_their_own() -> None:
    """Nothing of them is cached, so what is usual among them is slow for later ones."""
    both = scales(log_normal(200, 2.0))
    for value in log_normal(200, 0.5):
        both.add(0.0, value, first=False)
    tables = both.tables
    assert share_below(tables, 2.0, first=True) == pytest.approx(0.5, abs=0.1)
    assert (share_below(tables, 2.0, first=False) or 0.0) > 0.98


def test_what_is_long_past_fades() -> None:
    """Half of it is gone after 23 minutes: a slow evening does not excuse a slow night."""
    made = Scales()
    for minute in range(180):
        for value in log_normal(20, 1.0 if minute < 90 else 4.0):
            made.add(EVERY * minute, value, first=False)
    assert share_below(made.tables, 4.0, first=False) == pytest.approx(0.5, abs=0.1)


def test_tables_that_somebody_holds_do_not_change() -> None:
    """A conversation is told by the tables of its beginning."""
    made = scales(log_normal(100))
    held = made.tables
    before = share_below(held, 1.0, first=True)
    for value in log_normal(1000, 9.0):
        made.add(2 * EVERY, value, first=True)
    assert share_below(held, 1.0, first=True) == before
    assert share_below(made.tables, 1.0, first=True) != before


def test_a_take_over_goes_on_with_the_same_scales() -> None:
    """By way of JSON."""
    made = scales(log_normal(300), gap=1.0)
    other = Scales()
    other.restore(json.loads(json.dumps(made.to_document())))
    for held in (made, other):
        for value in log_normal(300, 1.5):
            held.add(400.0, value, first=True)
    for value in (0.3, 1.0, 4.0):
        assert share_below(other.tables, value, first=True) == pytest.approx(
            share_below(made.tables, value, first=True), rel=1e-6)
