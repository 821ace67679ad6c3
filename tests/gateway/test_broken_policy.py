"""A policy that is broken at the start: all that is refused and told names it, not the state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.commands import Commands, PolicyBroken
from coalmine.gateway.policy_source import PolicySource
from coalmine.release import CoalmineError
from coalmine.rollout import Promote, Start
from coalmine.routing import Phase

Make = Callable[..., Any]
GOOD = """
services:
  chat:
    releases: {v1: {slot: blue}, v2: {slot: green}}
    stable: v1
    rollout: {steps: [{weight: 50}]}
"""
BROKEN = "services: {chat: {stabel: v1, colour: red}}"


class Host:
    """A worker whose policy file is broken at its start, beside a snapshot of before."""

    def __init__(self, worker: Make, change: Make, folder: Path, *events: Any) -> None:
        change(*events)
        worker(snapshot=folder / "snapshot.json")
        self.file = folder / "coalmine.yaml"
        self.file.write_text(BROKEN)
        self.now = 0.0
        self.source = PolicySource(self.file, {}, mono=lambda: self.now)
        self.worker = worker(look=False, snapshot=folder / "snapshot.json", connect=self.connect)
        self.worker.follower._policy = lambda: self.source.policy
        self.state: Any = worker().away
        self.follower = self.worker.follower
        self.follower.boot()
        self.follower.refresh()
        self.commands = Commands(
            self.follower, policy=lambda: self.source.policy, probe=self.probe,
            count=self.worker.count, wall=lambda: 1_700_000_000.0, report=self.source.report,
        )

    def connect(self) -> Any:
        self.source.state_url()
        return self.state

    async def probe(self, *_: Any) -> list[Any]:
        return []

    def reread(self, text: str | None = None) -> None:
        if text is not None:
            self.file.write_text(text)
        self.now += 5
        self.source.reread()


@pytest.fixture
def host(worker: Make, change: Make, tmp_path: Path) -> Make:
    """A host after some events."""
    return lambda *events: Host(worker, change, tmp_path, *events)


@pytest.mark.parametrize("ask", [
    lambda c: c.pause("chat", "ann", "", None), lambda c: c.resume("chat", "ann", "", None),
    lambda c: c.promote("chat", "ann", "", None), lambda c: c.state(),
])
def test_a_change_is_refused_in_the_name_of_the_policy(host: Make, ask: Any) -> None:
    """With its first error, and what to do."""
    here = host(Start)
    with pytest.raises(PolicyBroken, match="has 4 errors and is not in force") as no:
        ask(here.commands)
    assert "coalmine.yaml:1: services.chat.stabel" in no.value.message
    assert "coalmine lint" in no.value.hint


def test_a_rollback_is_applied_here_and_says_what_keeps_it_from_the_others(host: Make) -> None:
    """The policy, which can be mended; the state is not to blame."""
    here = host(Start)
    done = here.commands.rollback("chat", "ann", "bad")
    assert (done.changed, here.follower.service("chat").phase) == (True, Phase.ROLLING_BACK)
    assert "coalmine.yaml has 4 errors" in done.note
    assert "when the policy is mended" in done.note
    assert "out of reach" not in done.note
    here.reread(GOOD)
    here.follower.refresh()
    assert here.state.load()["chat"].phase is Phase.ROLLING_BACK


def test_a_rollback_of_an_idle_service_is_refused_in_the_name_of_the_policy(host: Make) -> None:
    """It has no rollout that could be ended here."""
    here = host(Start, Promote, Promote)
    with pytest.raises(PolicyBroken):
        here.commands.rollback("chat", "ann", "bad")


@pytest.mark.anyio
async def test_a_turn_that_gets_stable_is_counted_under_the_policy(host: Make) -> None:
    """Who reads the metrics looks at the file, not for the state."""
    here = host(Start)
    turn = await here.worker.say("Hi", session="s1")
    assert (turn.decision.release, turn.decision.rule) == ("v1", "policy_broken")
    assert here.worker.counted["coalmine_unrecognised_total", "chat", "policy_broken"] == 1
    assert here.worker.counted["coalmine_faults_total", "policy"] == 1
    assert not here.worker.counted["coalmine_faults_total", "state"]


def test_the_errors_are_logged_once_for_each_change(
    host: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """By whoever reads the file; the follower, which asks twice a second, does not repeat them."""
    caplog.set_level(logging.INFO)
    here = host()
    for _ in range(5):
        here.reread()
        here.follower.refresh()
    assert caplog.text.count("stabel") == 1
    here.reread(BROKEN.replace("stabel", "stabble"))
    here.follower.refresh()
    assert caplog.text.count("stabble") == 1
    assert "shared state is not used" not in caplog.text


def test_another_fault_of_the_policy_is_still_told_by_the_follower(
    host: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A variable that is not set is found out only when the state is opened."""
    here = host()
    here.reread(GOOD + "state: os.environ/NOWHERE\n")
    here.follower.refresh()
    here.follower.refresh()
    assert caplog.text.count("NOWHERE is not set") == 1
    assert here.follower.unused is None
    with pytest.raises(CoalmineError, match="reached"):
        here.commands.state()


@pytest.fixture
def proxy(tmp_path: Path, patient_state: None) -> Iterator[Any]:
    """A whole worker of the gateway on a broken policy; its threads do not run."""
    from coalmine.gateway.worker import Worker

    (tmp_path / "coalmine.yaml").write_text(BROKEN)
    now = [0.0]
    made = Worker({"COALMINE_CONFIG": str(tmp_path / "coalmine.yaml")}, [], mono=lambda: now[0])
    made.follower.boot()
    made.follower.refresh()
    yield made, now
    made.collector.stop()
    made.follower.stop()
    made.executor.shutdown()
    asyncio.set_event_loop(None)


def test_health_never_blames_the_state_while_a_policy_is_mended(proxy: Any, tmp_path: Path) -> None:
    """Between the reading of the file and the first look at the state it is not out of reach."""
    worker, now = proxy
    told = worker.health()[0]
    assert (told["mode"], told["state"], told["policy"]) == ("stable_only", "unused", "error")
    (tmp_path / "coalmine.yaml").write_text(GOOD)
    now[0] += 5
    worker.source.reread()
    told = worker.health()[0]
    assert (told["mode"], told["state"], told["policy"]) == ("stable_only", "unused", "ok")
    worker.follower.refresh()
    told = worker.health()[0]
    assert (told["mode"], told["state"], told["policy"]) == ("rollout", "reached", "ok")
