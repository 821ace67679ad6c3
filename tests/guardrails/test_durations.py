"""Durations as people write them."""

import pytest

from coalmine.guardrails.durations import LONGEST, in_words, parse_duration

READ = [
    (0, 0.0),
    (90, 90.0),
    (1.5, 1.5),
    ("800ms", 0.8),
    ("30s", 30.0),
    ("10m", 600.0),
    ("1.5h", 5400.0),
    ("24h", 86400.0),
    ("7d", 604800.0),
    ("1h30m", 5400.0),
    (" 10 m ", 600.0),
    ("10M", 600.0),
    ("0s", 0.0),
]

REFUSED = [
    (-1, "cannot be -1"),
    (-0.5, "cannot be -0.5"),
    ("-5s", "negative"),
    (float("nan"), "cannot be nan"),
    (float("inf"), "longer than ten years"),
    (10**400, "so large a number is longer"),
    (-(10**400), "cannot be so large a number"),
    ("9" * 400 + "d", "longer than ten years"),
    (LONGEST + 1, "longer than ten years"),
    (True, "not a duration"),
    (None, "not a duration"),
    ([], "not a duration"),
    ("", "not a duration"),
    ("soon", "not a duration"),
    ("600", "not a duration"),
    ("1:30", "not a duration"),
    ("10m!", "not a duration"),
    ("1.5.5h", "not a duration"),
    ("1 0m", "not a duration"),
    ("٣s", "not a duration"),
    ("10 years", "not a duration"),
]


@pytest.mark.parametrize(("written", "seconds"), READ)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(("written", "said"), REFUSED, ids=lambda value: repr(value)[:20])
def test_what_is_no_duration_is_refused_with_what_was_written(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(written)


def test_the_message_stays_short_whatever_was_written() -> None:
    with pytest.raises(ValueError, match="not a duration") as refused:
        parse_duration("x" * 100_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(("seconds", "words"), [
    (3588, "59m 48s"), (0, "0s"), (-5, "0s"), (0.8, "800ms"), (59.9, "59s"), (60, "1m"),
    (600, "10m"), (3661, "1h 1m"), (3605, "1h"), (86400, "1d"), (200_000, "2d 7h"),
])
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
