"""The snapshot beside the process: what a start without the state serves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.commands import Commands
from coalmine.gateway.policy_source import PolicySource
from coalmine.rollout import Drained, Halt, Promote, RollBack, Start
from coalmine.routing import Phase
from coalmine.state import Entry, State, StateUnreachable

Make = Callable[..., Any]


def fails() -> State:
    raise StateUnreachable("away")


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
    here.follower.boot()
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
    here.follower.boot()
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
    older = back.model_copy(update={"epoch": back.epoch - 1, "phase": Phase.CANARY})
    assert state.swap(back, older, Entry(0, "chat", "backup", "restore", ""))
    here = worker(snapshot=path, look=False)
    here.follower.boot()
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
    here.follower.boot()
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
    here.follower.boot()
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
