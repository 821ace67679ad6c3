"""A state that knows less than the worker: plans never fall back, and the state is mended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.commands import Commands
from coalmine.rollout import Drained, Halt, Promote, RollBack, Service, Start, apply
from coalmine.routing import BACK, Phase
from coalmine.state import Entry, State

Make = Callable[..., Any]


def restore(state: State, older: Service) -> None:
    """Put an older service into the state, as a restored backup does."""
    newer = state.load()["chat"]
    assert state.swap(newer, older, Entry(0, "chat", "backup", "restore", ""))


# a state that came back old -----------------------------------------------------------------------
def test_an_older_epoch_never_replaces_a_newer_one(
    worker: Make, change: Make, state: State
) -> None:
    """The worker keeps what it applies, and puts it back."""
    old = change()
    here = worker()
    new = change(Start)
    here.follower.refresh()
    restore(state, old)
    here.follower.refresh()
    assert here.plan.epoch == new.epoch
    assert state.load()["chat"] == new
    assert state.history("chat")[-1].action == "reseed"


def test_on_a_tie_a_rollback_wins(worker: Make, change: Make, state: State, clock: Any) -> None:
    """On both sides."""
    canary = change(Start)
    here = worker()
    back = apply(canary, RollBack(at=clock.now, who="ann"))
    other = apply(canary, Halt(at=clock.now, who="bob"))
    assert back.epoch == other.epoch
    change(RollBack(at=clock.now, who="ann"))
    here.follower.refresh()
    restore(state, other)
    here.follower.refresh()
    assert here.plan.phase is Phase.ROLLING_BACK
    assert state.load()["chat"] == back
    restore(state, other)
    there = worker()
    assert there.plan.phase is Phase.PAUSED
    restore(state, back)
    there.follower.refresh()
    assert there.plan.phase is Phase.ROLLING_BACK


def test_a_service_that_the_state_lost_is_put_back(
    worker: Make, change: Make, state: State, opened: Make
) -> None:
    """Where it stood, not where the policy began."""
    change()
    here = worker()
    service = change(Start)
    here.follower.refresh()
    here.away.real = opened("other.db")
    here.follower.refresh()
    assert here.away.real.load()["chat"] == service


def test_workers_of_a_state_that_came_back_empty_know_conversations_alike(
    here: Any, there: Any, opened: Make
) -> None:
    """By the new state's salt, and nothing that was known by the old one's."""
    before = here.follower.salt()
    here.assigner.pins.put(b"of before", 1)
    there.assigner.pins.put(b"of before", 1)
    for each in (here, there):
        each.away.real = opened("other.db")
    new = opened("other.db")
    for each in (here, there):
        each.follower.refresh()
        assert each.follower.salt() == new.salt() != before
        assert len(each.assigner.pins) == 0
        assert each.plan.phase is Phase.CANARY
        each.assigner.pins.put(b"of now", 1)
        each.follower.refresh()
        assert len(each.assigner.pins) == 1


# a pending rollback -------------------------------------------------------------------------------
@pytest.fixture
def rolled_back(worker: Make, change: Make, clock: Any) -> Make:
    """A worker on which a rollback was asked for while the state was away."""

    def make(**fields: Any) -> Any:
        change(Start)
        here = worker(**fields)
        here.away.away = True

        async def probe(*_: Any) -> list[Any]:
            return []

        Commands(here.follower, policy=lambda: None, probe=probe, count=here.count, wall=clock
                 ).rollback("chat", "ann", "bad answers")
        return here

    return make


@pytest.mark.parametrize("meanwhile", [(), (Halt,), (Promote,), (Promote, Promote)],
                         ids=["nothing", "paused", "baking", "promoted"])
def test_a_pending_rollback_wins_over_whatever_came(
    rolled_back: Make, change: Make, meanwhile: tuple[Any, ...]
) -> None:
    """Of the same rollout: a pause, a step, even its promotion."""
    here = rolled_back()
    change(*meanwhile)
    here.follower.refresh()
    assert (here.plan.phase, here.plan.stable) == (Phase.ROLLING_BACK, "v1")
    here.away.away = False
    here.follower.refresh()
    assert here.plan.stable == "v1"
    written = here.away.real.load()["chat"]
    assert written.stable == "v1"
    assert written.phase in (*BACK, Phase.IDLE)
    here.follower.refresh()
    assert here.follower.service("chat") == written
    entry = here.away.real.history("chat")[-1]
    assert (entry.who, entry.action, entry.reason) == ("ann", "rollback", "bad answers")


def test_a_pending_rollback_leaves_another_rollout_alone(
    rolled_back: Make, change: Make
) -> None:
    """It was rolled back by others, and a new one has begun since."""
    here = rolled_back()
    service = change(RollBack, Drained, Start)
    here.away.away = False
    here.follower.refresh()
    assert (here.plan.phase, here.plan.epoch) == (Phase.CANARY, service.epoch)
    here.follower.refresh()
    assert here.away.real.load()["chat"] == service


def test_a_pending_rollback_keeps_what_was_changed_meanwhile(
    rolled_back: Make, change: Make, clock: Any
) -> None:
    """It is applied to the state as it is, not in its place."""
    here = rolled_back()
    service = change(Promote)
    here.away.away = False
    here.follower.refresh()
    written = here.away.real.load()["chat"]
    assert written.epoch == service.epoch + 1
    assert written.rollout.changes == service.rollout.changes


@pytest.mark.parametrize("lost", [(), (Start,)], ids=["its rollout", "nothing of it"])
def test_a_pending_rollback_is_put_back_into_a_state_that_lost_it(
    rolled_back: Make, worker: Make, opened: Make, state: State, lost: tuple[Any, ...]
) -> None:
    """A restored backup may be older than the rollout; no worker brings the candidate back."""
    here, there = rolled_back(), worker()
    older = opened("older.db")
    canary = state.load()["chat"]
    born = canary.model_copy(update={
        "epoch": 1, "phase": Phase.IDLE, "candidate": None, "rollout": None, "rollouts": 0,
        "eras": canary.eras[:1]})
    assert older.swap(None, canary if lost else born, Entry(0, "chat", "backup", "restore", ""))
    for each in (here, there):
        each.away.real, each.away.away = older, False
    for _ in range(3):
        for each in (here, there):
            each.follower.refresh()
        assert here.plan.phase is Phase.ROLLING_BACK
    assert there.plan.phase is Phase.ROLLING_BACK
    assert older.load()["chat"].phase is Phase.ROLLING_BACK


def test_a_pending_rollback_survives_a_restart(
    rolled_back: Make, change: Make, worker: Make, tmp_path: Path
) -> None:
    """It stands in the snapshot, and is written when the state is back."""
    snapshot = tmp_path / "snapshot.json"
    rolled_back(snapshot=snapshot)
    change(Promote)
    again = worker(snapshot=snapshot, look=False)
    again.away.away = True
    again.follower.boot()
    again.follower.refresh()
    assert (again.plan.stable, again.plan.phase in BACK) == ("v1", True)
    again.away.away = False
    again.follower.refresh()
    assert again.away.real.load()["chat"].phase is Phase.ROLLING_BACK
    assert json.loads(snapshot.read_text())["pending"] == {}
