"""How a worker ends: every step, whatever becomes of the others, and in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.control import controller
from coalmine.gateway import collector, follower
from coalmine.guardrails import Attempt, Outcome
from coalmine.record import recording
from coalmine.state import breaker, housekeeper, open_state

POLICY = """
services:
  chat:
    releases: {v1: {slot: blue}, v2: {slot: green}}
    stable: v1
    rollout: {steps: [{weight: 10, for: 24h}]}
"""
CALL = 0.4
"""Seconds that a call of the state takes at most: a connect and an answer of Redis."""


@pytest.fixture
def ending(place: Path, patient_state: None) -> Iterator[Any]:
    """A worker with its state, its collector and its controller, without LiteLLM."""
    from coalmine.gateway.worker import Worker

    (place / "coalmine.yaml").write_text(POLICY)
    found = Worker({"COALMINE_CONFIG": str(place / "coalmine.yaml")}, [])
    found.follower.start()
    found.collector.start()
    found.controller.start()
    yield found
    for part in (found.controller, found.collector, found.follower):
        type(part).stop(part)  # also where a test has put another in its place
    found.executor.shutdown()


def answered(worker: Any) -> Any:
    """A turn whose attempt has ended, and of which LiteLLM's log event has not told yet."""
    turn = worker.turns.begin({}, "chat", "chat", worker.mono())
    attempt = Attempt(at=worker._wall(), service="chat", release="v1", arm=None, deployment="d",
                      outcome=Outcome.OK)
    turn.pending = attempt, worker.collector.wait(attempt)
    return turn


def counted(place: Path, gateway: str, metric: str) -> float:
    """A counter's sum, as the state has it."""
    state = open_state("sqlite:///coalmine.db", base=place, deadline=5.0)
    try:
        return sum(value for name, value in state.totals(gateway).items()
                   if name.startswith(metric))
    finally:
        state.close()


@pytest.mark.parametrize("part", ["controller", "collector", "follower"])
def test_a_step_that_fails_skips_no_other(
    ending: Any, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and nothing is raised into LiteLLM's own end."""
    stopped: list[str] = []

    def stop(name: str, real: Any) -> Any:
        def ended() -> None:
            stopped.append(name)
            real()
            if name == part:
                raise RuntimeError("out of order")
        return ended

    for name in ("controller", "collector", "follower"):
        owner = getattr(ending, name)
        monkeypatch.setattr(owner, "stop", stop(name, owner.stop))
    ending.stop()
    ending.stop()
    assert stopped == ["controller", "collector", "follower"], "each, and once"
    assert "out of order" in caplog.text


def test_an_answer_of_the_cache_is_no_attempt_though_the_worker_ends(
    ending: Any, place: Path
) -> None:
    """The log event that says so is on its way while it ends."""
    turn = answered(ending)
    teller = threading.Timer(0.1, ending.accounts.cached, (turn,))
    ending.controller.stop()
    teller.start()
    ending.stop()
    teller.join()
    assert counted(place, ending.gateway, "coalmine_attempts_total") == 0
    assert counted(place, ending.gateway, "coalmine_cached_total") == 1
    assert not ending.collector._untold


def test_an_answer_of_which_nothing_is_told_counts(
    ending: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the clock was set back since it ended."""
    from coalmine.gateway import worker as module

    monkeypatch.setattr(module, "LAST", 0.02)
    turn = answered(ending)
    turn.pending[0].at += 3600
    ending.stop()
    assert counted(place, ending.gateway, "coalmine_attempts_total") == 1


def test_all_that_an_end_waits_for_fits_into_its_time() -> None:
    """Beyond it LiteLLM goes on, and the other workers would not be told."""
    from coalmine.gateway.litellm_router import STOP
    from coalmine.gateway.worker import LAST

    close = max(breaker.JOIN, housekeeper.JOIN)
    threads = controller.JOIN + collector.JOIN + recording.JOIN + follower.JOIN
    assert threads + LAST + 2 * CALL + close < STOP
