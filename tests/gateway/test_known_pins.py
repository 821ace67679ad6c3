"""The pins that a worker knows."""

from typing import Any

from coalmine.gateway.known_pins import CODES, KnownPins
from coalmine.routing import Arm, Pin
from coalmine.routing.pins import UNTOLD

A, B = b"a", b"b"


def test_every_code_fits() -> None:
    """Beside the second at which it was learnt."""
    assert max(Pin(99, UNTOLD, arm).code for arm in Arm) < CODES


def test_a_pin_is_due_once_in_so_many_seconds(mono: Any) -> None:
    """Counted from when the state was last asked; what is not known is never due."""
    pins = KnownPins(mono)
    pins.put(A, 203)
    mono.now += 9
    assert not pins.due(A, 10)
    assert not pins.due(B, 10)
    mono.now += 2
    assert [pins.due(A, 10) for _ in range(3)] == [True, False, False]
    assert pins.get(A) == 203


def test_it_is_bounded_and_forgets_on_request(mono: Any) -> None:
    """The ones not heard of for longest go first."""
    pins = KnownPins(mono, size=2)
    since = pins.forgotten
    for code, key in enumerate((A, B, b"c")):
        pins.put(key, code)
    assert [pins.get(key) for key in (A, B, b"c")] == [None, 1, 2]
    pins.forget(B)
    assert pins.get(B) is None
    pins.put(B, 1, since)
    assert pins.get(B) is None  # it may be the very one that was to be forgotten
    pins.clear()
    assert len(pins) == 0
