"""A pin as a small integer, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalmine.routing import NO_CHANCE, Arm, Pin, read_pin
from coalmine.routing.pins import CHANGES_KEPT, ERAS_KEPT

VECTORS = [
    (Pin(0, NO_CHANCE, Arm.STABLE), 0),
    (Pin(0, NO_CHANCE, Arm.CANDIDATE), 1),
    (Pin(0, 1, Arm.STABLE), 2),
    (Pin(1, 0, Arm.STABLE), 200),
    (Pin(49, 99, Arm.CANDIDATE), 9999),
    (Pin(50, 0, Arm.STABLE), 0),
    (Pin(1234, 17, Arm.CANDIDATE), 6835),
]


@pytest.mark.parametrize(("pin", "code"), VECTORS)
def test_a_pin_has_the_code_that_it_always_had(pin: Pin, code: int) -> None:
    assert pin.code == code
    assert read_pin(code, pin.era) == pin


@given(st.integers(0, 100_000), st.integers(0, 49), st.integers(0, 99), st.sampled_from(Arm))
def test_a_pin_of_the_last_fifty_eras_is_read_back(
    now: int, age: int, change: int, arm: Arm
) -> None:
    pin = Pin(max(now - age, 0), change, arm)
    assert 0 <= pin.code < 10_000
    assert read_pin(pin.code, now) == pin


def test_no_two_pins_of_fifty_eras_share_a_code() -> None:
    codes = {
        Pin(era, change, arm).code
        for era in range(1000, 1000 + ERAS_KEPT)
        for change in range(CHANGES_KEPT)
        for arm in Arm
    }
    assert codes == set(range(10_000))


@pytest.mark.parametrize("code", [-1, 10_000, 123_456])
def test_what_no_pin_makes_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.9999"):
        read_pin(code, 5)


def test_a_pin_from_an_era_that_this_worker_has_not_heard_of_is_never_of_its_own() -> None:
    for now in (3, 60):
        newer = Pin(now + 1, 1, Arm.CANDIDATE)
        assert read_pin(newer.code, now).era < now
