"""The follower: a worker's plans follow the state."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.release import CoalmineError
from coalmine.rollout import Start
from coalmine.routing import Phase
from coalmine.state import State, StateCorrupt, StateUnreachable

Make = Callable[..., Any]


def test_a_service_of_the_policy_is_born_once(worker: Make, state: State) -> None:
    """By whichever worker comes first."""
    first, second = worker(), worker()
    assert first.plan == second.plan
    assert first.plan.stable == "v1"
    assert [e.action for e in state.history("chat")] == ["born"]


def test_a_change_is_known_to_be_missed_and_read(worker: Make, change: Make) -> None:
    """The hot path asks one number; the plan is swapped whole."""
    change()
    here = worker()
    assert not here.follower.outdated()
    service = change(Start)
    assert here.follower.outdated()
    here.follower.refresh()
    assert not here.follower.outdated()
    assert (here.plan.phase, here.plan.epoch) == (Phase.CANARY, service.epoch)


def test_the_thread_follows_and_beats(
    worker: Make, change: Make, state: State, until: Make
) -> None:
    """Within the poll, or at once when the bell rings; with what is in flight."""
    change()
    here = worker(look=False, in_flight=lambda: {"chat/v1": 3})
    here.follower.start()
    service = change(Start)
    until(lambda: [(beat.epochs, beat.in_flight) for beat in state.workers()] == [
        ({"chat": service.epoch}, {"chat/v1": 3})])
    assert here.plan.phase is Phase.CANARY


def test_the_thread_outlives_any_fault_of_ours(
    worker: Make, change: Make, until: Make
) -> None:
    """A worker that follows no more would miss the rollback."""
    change()
    ticked = threading.Event()

    def tick() -> None:
        ticked.set()
        raise KeyError("a fault of ours")

    here = worker(look=False, tick=tick)
    here.follower.start()
    assert ticked.wait(5)
    service = change(Start)
    assert until(lambda: here.plan.epoch == service.epoch)


def test_silence_is_counted_from_the_last_answer(
    worker: Make, change: Make, mono: Any
) -> None:
    """And is without end before the first."""
    change()
    here = worker(look=False)
    assert here.follower.silence() == float("inf")
    here.follower.refresh()
    mono.now += 2
    here.away.away = True
    here.follower.refresh()
    assert here.follower.silence() == 2
    here.away.away = False
    here.follower.refresh()
    assert here.follower.silence() == 0


def test_moves_of_others_are_told_once(worker: Make, change: Make, state: State) -> None:
    """All of them since the first look, and no others."""
    change()
    state.claim(b"before--", 3)
    state.move(b"before--", 3, 4)
    moved: list[Any] = []
    here = worker(on_moves=moved.append)
    state.claim(b"after---", 3)
    state.move(b"after---", 3, 4)
    here.follower.refresh()
    here.follower.refresh()
    assert moved == [[b"after---"]]


def test_after_too_many_moves_all_is_forgotten_and_none_missed(
    worker: Make, change: Make, state: State
) -> None:
    """What is moved while all is forgotten is told the next time."""
    change()
    moved: list[Any] = []

    def forget(keys: Any) -> None:
        moved.append(keys)
        if keys is None:
            state.claim(b"meantime", 3)
            state.move(b"meantime", 3, 4)

    here = worker(on_moves=forget)
    here.follower._moves = 10**18  # more than the state knows of
    here.follower.refresh()
    here.follower.refresh()
    assert moved == [None, [b"meantime"]]


@pytest.mark.parametrize("error", [StateUnreachable("x"), StateCorrupt("x"), CoalmineError("x")])
def test_no_error_of_the_state_leaves_the_follower(
    worker: Make, error: CoalmineError
) -> None:
    """Nor a policy that names a variable that is not set."""
    def connect() -> State:
        raise error

    here = worker(look=False, connect=connect)
    here.follower.boot()
    here.follower.refresh()
    assert here.plan.stable == "v1"


def test_the_state_is_closed_whatever_becomes_of_the_farewell(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads and files must not outlive the worker."""
    here, closed = worker(), []

    def fails(_: str) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(here.away, "gone", fails, raising=False)
    monkeypatch.setattr(here.away, "close", lambda: closed.append(True), raising=False)
    with pytest.raises(RuntimeError, match="out of order"):
        here.follower.stop()
    monkeypatch.undo()
    assert closed
