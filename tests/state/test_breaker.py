"""The breaker before a state that does not answer."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.state import StateError, StateUnreachable
from coalmine.state.breaker import Breaker

Until = Callable[[Callable[[], object]], None]
AWAY = StateUnreachable("away")


def well(breaker: Breaker) -> bool:
    """Whether calls are let through."""
    try:
        breaker.check()
    except StateError:
        return False
    return True


def test_calls_fail_at_once_until_a_probe_succeeds(until: Until) -> None:
    """The server is asked in the background."""
    back = threading.Event()

    def probe() -> None:
        if not back.is_set():
            raise AWAY

    breaker = Breaker(probe)
    breaker.trip(AWAY)
    assert not well(breaker)
    back.set()
    until(lambda: well(breaker))
    breaker.close()


def test_a_probe_with_a_fault_of_ours_goes_on(until: Until) -> None:
    """It would else stay open for ever."""
    faults: list[Exception] = [ValueError("a fault of ours")]

    def probe() -> None:
        if faults:
            raise faults.pop()

    breaker = Breaker(probe)
    breaker.trip(AWAY)
    until(lambda: well(breaker))
    breaker.close()


def test_a_thread_that_could_not_be_started_is_started_by_a_later_call(
    until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that has no thread left raises nothing here, and may have one later."""
    def none_left(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    breaker = Breaker(lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        breaker.trip(AWAY)
        assert not well(breaker)
    until(lambda: well(breaker))
    breaker.close()
