"""The draw: the same on every worker, as often as the weight says, and new at each change."""

from functools import cache
from math import sqrt

import pytest

from coalmine.routing import WHOLE, bucket, millionths

MANY = 100_000
CONVERSATIONS = [number.to_bytes(8, "big") for number in range(MANY)]

VECTORS = [
    (b"\x00" * 8, "chat", 1, 1, 716_135),
    (b"\x00" * 8, "chat", 1, 2, 123_707),
    (b"\x00" * 8, "chat", 2, 1, 79_785),
    (b"\x00" * 8, "code", 1, 1, 368_874),
    (bytes(range(8)), "chat", 1, 1, 112_484),
]


@cache
def buckets(service: str, era: int, change: int) -> list[int]:
    return [bucket(conversation, service, era, change) for conversation in CONVERSATIONS]


def drawn(percent: float, *, service: str = "chat", era: int = 1, change: int = 1) -> set[int]:
    """Return which of many conversations the candidate gets."""
    weight = millionths(percent)
    return {i for i, found in enumerate(buckets(service, era, change)) if found < weight}


def fits(found: int, chance: float) -> bool:
    """Return whether a count is within five standard deviations."""
    return abs(found - MANY * chance) <= 5 * sqrt(MANY * chance * (1 - chance))


@pytest.mark.parametrize(("conversation", "service", "era", "change", "expected"), VECTORS)
def test_a_conversation_falls_into_the_bucket_that_it_always_had(
    conversation: bytes, service: str, era: int, change: int, expected: int
) -> None:
    assert bucket(conversation, service, era, change) == expected


@pytest.mark.parametrize("percent", [0.1, 1, 2.5, 50, 99.9])
def test_the_candidate_gets_the_share_that_the_weight_says(percent: float) -> None:
    assert fits(len(drawn(percent)), percent / 100)


def test_nobody_is_drawn_at_0_and_everybody_at_100() -> None:
    assert not drawn(0)
    assert len(drawn(100)) == MANY


def test_who_is_drawn_at_a_weight_is_drawn_at_a_higher_one_of_the_same_change() -> None:
    assert drawn(5) < drawn(25)


@pytest.mark.parametrize(
    "other",
    [{"change": 2}, {"change": 40}, {"era": 2}, {"service": "code"}],
    ids=["the next change", "a late change", "the next era", "another service"],
)
@pytest.mark.parametrize(("first", "second"), [(5, 5), (25, 10), (50, 50)])
def test_two_draws_have_nothing_to_do_with_each_other(
    first: float, second: float, other: dict[str, object]
) -> None:
    both = drawn(first) & drawn(second, **other)  # type: ignore[arg-type]
    assert fits(len(both), first * second / 10_000)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0.1, 1000), (0.3, 3000), (1, 10_000), (33.3, 333_000), (99.9, 999_000), (100, WHOLE),
     (0, 0), (100 - 0.1, 999_000)],
)  # fmt: skip
def test_a_weight_in_percent_is_exact_in_millionths(percent: float, expected: int) -> None:
    assert millionths(percent) == expected
