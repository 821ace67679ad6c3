"""The histogram: percentiles within the stated error, merged by addition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.guardrails.histogram import (
    BUCKETS,
    LARGEST,
    RELATIVE_ERROR,
    SMALLEST,
    Histogram,
    bucket_of,
    value_of,
)

TIMES = st.floats(min_value=SMALLEST, max_value=LARGEST, exclude_max=True)
PERCENTS = st.integers(min_value=1, max_value=100)


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(bucket_of(value))
    return made


def test_the_range_reaches_from_a_tenth_of_a_millisecond_to_twelve_minutes() -> None:
    """No answer of a model is outside of it."""
    assert SMALLEST == 1e-4
    assert 600 < LARGEST < 800


@given(TIMES)
def test_a_value_is_told_within_the_stated_error(value: float) -> None:
    """Half a bucket, whatever the value within the range."""
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=RELATIVE_ERROR + 1e-9)


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_any_time_has_a_bucket(value: float) -> None:
    """Also those outside of the range: they go into the first or the last."""
    assert 0 <= bucket_of(value) < BUCKETS


@given(st.lists(TIMES, min_size=1, max_size=300), PERCENTS)
def test_a_percentile_is_the_exact_order_statistic_within_the_stated_error(
    values: list[float], percent: int
) -> None:
    """The one at place ⌈share · n⌉ of the sorted values."""
    exact = sorted(values)[-(-percent * len(values) // 100) - 1]
    (found,) = histogram(values).percentiles([percent / 100])
    assert found == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


@given(st.lists(TIMES, max_size=100), st.lists(TIMES, max_size=100))
def test_merging_is_adding_all(left: list[float], right: list[float]) -> None:
    """Two workers' histograms are one worker's of both."""
    merged = histogram(left)
    merged.merge(histogram(right))
    whole = histogram(left + right)
    assert (merged.counts, merged.total) == (whole.counts, whole.total)


@given(st.lists(TIMES, max_size=100), st.lists(TIMES, max_size=100))
def test_what_is_taken_away_was_never_there(stay: list[float], leave: list[float]) -> None:
    """That is what makes windows cheap."""
    made = histogram(stay + leave)
    for value in leave:
        made.add(bucket_of(value), -1)
    assert (made.counts, made.total) == (histogram(stay).counts, len(stay))


def test_an_empty_histogram_has_no_percentiles() -> None:
    """No data is None, never 0."""
    assert Histogram().percentiles([0.5, 0.99]) == [None, None]


def test_percentiles_come_in_the_order_in_which_they_were_asked() -> None:
    """Whatever that order is."""
    made = histogram([0.1] * 90 + [10.0] * 10)
    low, high, least = made.percentiles([0.5, 0.99, 0.0])
    assert low == least == pytest.approx(0.1, rel=0.01)
    assert high == pytest.approx(10.0, rel=0.01)


def test_the_stated_error_is_below_one_percent() -> None:
    """As the documentation says."""
    assert math.isclose(RELATIVE_ERROR, 0.0099, rel_tol=1e-2)
