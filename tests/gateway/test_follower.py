"""The follower: a worker's plans follow the state, and never fall back behind it."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.commands import Commands
from coalmine.gateway.follower import Follower
from coalmine.gateway.policy_source import PolicySource
from coalmine.release import CoalmineError
from coalmine.rollout import Drained, Halt, Promote, RollBack, Service, Start, apply
from coalmine.routing import BACK, Phase
from coalmine.state import Entry, State, StateCorrupt, StateUnreachable

Make = Callable[..., Any]


def restore(state: State, older: Service) -> None:
    """Put an older service into the state, as a restored backup does."""
    newer = state.load()["chat"]
    assert state.swap(newer, older, Entry(0, "chat", "backup", "restore", ""))


def fails() -> State:
    raise StateUnreachable("away")


# following ----------------------------------------------------------------------------------------
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
    worker: Make, change: Make, state: State
) -> None:
    """Within the poll, or at once when the bell rings; with what is in flight."""
    change()
    here = worker(look=False, in_flight=lambda: {"chat/v1": 3})
    here.follower.start()
    service = change(Start)
    end = time.monotonic() + 5
    while True:
        beats = [beat for beat in state.workers() if beat.epochs.get("chat") == service.epoch]
        if beats and beats[0].in_flight == {"chat/v1": 3}:
            break
        assert time.monotonic() < end
        time.sleep(0.005)
    assert here.plan.phase is Phase.CANARY


def test_the_thread_outlives_any_fault_of_ours(worker: Make, change: Make) -> None:
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
    end = time.monotonic() + 5
    while here.plan.epoch != service.epoch:
        assert time.monotonic() < end
        time.sleep(0.005)


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


def test_a_pending_rollback_survives_a_restart(
    rolled_back: Make, change: Make, worker: Make, tmp_path: Path
) -> None:
    """It stands in the snapshot, and is written when the state is back."""
    snapshot = tmp_path / "snapshot.json"
    rolled_back(snapshot=snapshot)
    change(Promote)
    again = worker(snapshot=snapshot, look=False)
    again.away.away = True
    again.follower._from_snapshot()
    again.follower.refresh()
    assert (again.plan.stable, again.plan.phase in BACK) == ("v1", True)
    again.away.away = False
    again.follower.refresh()
    assert again.away.real.load()["chat"].phase is Phase.ROLLING_BACK
    assert json.loads(snapshot.read_text())["pending"] == {}


# the snapshot -------------------------------------------------------------------------------------
@pytest.fixture
def snapshot(worker: Make, change: Make, tmp_path: Path) -> Make:
    """The snapshot of a worker after some events."""

    def make(*events: Any) -> Path:
        change(*events)
        path = tmp_path / "snapshot.json"
        worker(snapshot=path)
        return path

    return make


def boot(worker: Make, path: Path | None, **fields: Any) -> Any:
    """A worker that boots with the state out of reach."""
    here = worker(look=False, snapshot=path, **{"connect": fails, **fields})
    here.follower._from_snapshot()
    here.follower.refresh()
    return here


@pytest.mark.parametrize("events", [
    (), (Start,), (Start, Halt), (Start, Promote), (Start, RollBack), (Start, RollBack, Drained),
])
def test_a_boot_without_the_state_serves_stable_only(
    worker: Make, snapshot: Make, events: tuple[Any, ...]
) -> None:
    """Whatever was in progress; as the last snapshot names it."""
    here = boot(worker, snapshot(*events))
    assert (here.plan.stable, here.plan.candidate, here.plan.weight) == ("v1", None, 0)
    assert (here.plan.phase, here.plan.epoch) == (Phase.IDLE, 0)


def test_a_boot_after_a_promotion_serves_the_promoted(worker: Make, snapshot: Make) -> None:
    """Not the release that the policy began with."""
    here = boot(worker, snapshot(Start, Promote, Promote))
    assert here.plan.stable == "v2"
    assert here.follower.service("chat").stable == "v2"
    assert here.follower.names() == {"chat"}


def test_a_boot_without_a_snapshot_serves_what_the_policy_names(
    worker: Make, tmp_path: Path
) -> None:
    """There is nothing newer."""
    assert boot(worker, tmp_path / "none.json").plan.stable == "v1"


@pytest.mark.parametrize("text", [
    "", "{", "[]", "5", "null", '"x"', '{"services": 5}', '{"services": [1]}', "{}",
    '{"services": {"chat": {"name": "chat"}}}', '{"services": {"chat": null}, "pending": 5}',
    '{"services": {}, "pending": {"chat": {"at": 1}}}', "[" * 100_000, "\ud7ff" * 3,
])
def test_a_faulty_snapshot_is_passed_over(worker: Make, tmp_path: Path, text: str) -> None:
    """The policy's stable is served; nothing raises."""
    path = tmp_path / "snapshot.json"
    path.write_text(text)
    assert boot(worker, path).plan.stable == "v1"


def test_a_snapshot_that_is_no_text_is_passed_over(worker: Make, tmp_path: Path) -> None:
    """Nor one that cannot be read at all."""
    path = tmp_path / "snapshot.json"
    path.write_bytes(b"\xff\x00")
    assert boot(worker, path).plan.stable == "v1"
    directory = tmp_path / "directory"
    directory.mkdir()
    assert boot(worker, directory).plan.stable == "v1"


def test_of_a_snapshot_with_one_faulty_service_the_others_are_used(
    worker: Make, snapshot: Make
) -> None:
    """One that another version wrote takes none of the others with it."""
    path = snapshot(Start, Promote, Promote)
    document = json.loads(path.read_text())
    document["services"]["other"] = {"name": "other", "colour": "red"}
    path.write_text(json.dumps(document))
    assert boot(worker, path).plan.stable == "v2"


def test_a_policy_that_is_faulty_at_boot_leaves_the_snapshots_stable(
    worker: Make, snapshot: Make, tmp_path: Path
) -> None:
    """LiteLLM's home group may be the release of last year."""
    path = snapshot(Start, Promote, Promote)
    broken = tmp_path / "coalmine.yaml"
    broken.write_text("services: [")
    source = PolicySource(broken, {})
    assert not source.observing

    def connect() -> State:
        source.state_url()
        raise AssertionError("there is no address")

    here = boot(worker, path, policy=source.policy, connect=connect)
    assert here.plan.stable == "v2"
    assert here.plan.slots["v2"].value == "green"
    assert here.follower.names() == {"chat"}
    assert here.follower.silence() == float("inf")


def test_a_rollback_asked_of_a_worker_that_booted_without_the_state(
    worker: Make, snapshot: Make, clock: Any
) -> None:
    """It is applied, and written as soon as the state is back."""
    here = worker(look=False, snapshot=snapshot(Start))
    here.away.away = True
    here.follower._from_snapshot()
    here.follower.refresh()

    async def probe(*_: Any) -> list[Any]:
        return []

    does = Commands(here.follower, policy=lambda: None, probe=probe, count=here.count, wall=clock)
    done = does.rollback("chat", "ann", "bad")
    assert (done.changed, done.service.phase) == (True, Phase.ROLLING_BACK)
    here.away.away = False
    here.follower.refresh()
    assert here.away.real.load()["chat"].phase is Phase.ROLLING_BACK


def test_what_this_host_has_seen_is_not_forgotten_by_a_restart(
    worker: Make, snapshot: Make, state: State, tmp_path: Path
) -> None:
    """A state that was restored while all workers were down: rolled back stays rolled back."""
    path = snapshot(Start, RollBack)
    back = state.load()["chat"]
    restore(state, back.model_copy(update={
        "epoch": back.epoch - 1, "phase": Phase.CANARY}))
    here = worker(snapshot=path, look=False)
    here.follower._from_snapshot()
    here.follower.refresh()
    assert here.plan.phase is Phase.ROLLING_BACK
    assert state.load()["chat"] == back


def test_the_snapshot_of_another_installation_overrules_nothing(
    worker: Make, snapshot: Make, opened: Make, change: Make, policy: Any
) -> None:
    """A gateway that joins others brings its own past with it, which must not become theirs."""
    path = snapshot(Start, RollBack, Drained, Start, RollBack, Drained)
    theirs = opened("theirs.db")
    other = worker(on=theirs)
    here = worker(on=theirs, snapshot=path, look=False)
    here.follower._from_snapshot()
    here.follower.refresh()
    assert here.follower.service("chat") == other.follower.service("chat")
    assert theirs.load()["chat"].epoch == 1


def test_an_empty_state_is_seeded_with_the_snapshot(
    worker: Make, snapshot: Make, opened: Make
) -> None:
    """Its services are where they were."""
    path = snapshot(Start, Promote, Promote)
    fresh = opened("fresh.db")
    here = worker(on=fresh, snapshot=path, look=False)
    here.follower._from_snapshot()
    here.follower.refresh()
    assert fresh.load()["chat"].stable == "v2"


def test_a_snapshot_that_cannot_be_written_is_tried_again(
    worker: Make, change: Make, tmp_path: Path
) -> None:
    """The disk may have room again tomorrow."""
    change()
    folder = tmp_path / "later"
    here = worker(snapshot=folder / "snapshot.json")
    folder.mkdir()
    change(Start)
    here.follower.refresh()
    assert json.loads((folder / "snapshot.json").read_text())["services"]["chat"]["phase"] == (
        "canary")


@pytest.mark.parametrize("error", [StateUnreachable("x"), StateCorrupt("x"), CoalmineError("x")])
def test_no_error_of_the_state_leaves_the_follower(
    worker: Make, tmp_path: Path, error: CoalmineError
) -> None:
    """Nor a policy that names a variable that is not set."""
    def connect() -> State:
        raise error

    here = boot(worker, None, connect=connect)
    assert isinstance(here.follower, Follower)
    assert here.plan.stable == "v1"
