"""Recording by a worker: what its collector ships stands in files that read back."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coalmine.gateway import policy_source
from coalmine.gateway.collector import Collector
from coalmine.gateway.totals import series
from coalmine.guardrails import Attempt, Outcome, from_row
from coalmine.record import recording as module
from coalmine.record.event_files import Place
from coalmine.record.events import Reader
from coalmine.record.recording import Recording
from coalmine.record.sources import read_source
from coalmine.routing import Arm
from coalmine.state import State

POLICY = """
record: {folder: recorded, keep: 1d, max_bytes: 2000000}
services:
  chat:
    releases: {v1: {slot: blue}, v2: {slot: green}}
    stable: v1
"""
DROPPED = series("coalmine_dropped_total", "record")


def attempt(number: int, arm: Arm | None = Arm.CANDIDATE, **fields: Any) -> Attempt:
    """An attempt of the service `chat`, a tenth of a second after the last."""
    usual: dict[str, Any] = {
        "service": "chat", "release": "v2" if arm is Arm.CANDIDATE else "v1", "deployment": "d",
        "outcome": Outcome.OK, "conversation": f"{number:016x}", "caller": "ab" * 8,
        "alias": "alice", "chance": 0.25, "evidence": arm is not None, "first_turn": True,
        "ttft": 0.5, "seconds": 1.0, "tokens": number}
    return Attempt(at=1_700_000_000 + number / 10, arm=arm, **{**usual, **fields})


def recorded(folder: Path) -> list[Any]:
    """What a reader makes of a folder; nothing in it is a fault."""
    reader = Reader("chat")
    found = list(reader.events(read_source(folder)))
    assert not reader.faults
    return found


class Pair:
    """A collector over a real state, and its recording."""

    def __init__(self, state: State, place: Path) -> None:
        self.where: Place | None = Place(place / "events", 86400.0, 1_000_000)
        self.recording = Recording("w1", lambda: self.where, self._dropped)
        self.collector = Collector("w1", "g1", lambda: state, None, self.recording.add)

    def _dropped(self, times: int) -> None:
        self.collector.count("coalmine_dropped_total", "record", times=times)


@pytest.fixture
def pair(state: State, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """They end with the test."""
    monkeypatch.setattr(module, "EVERY", 0.005)
    monkeypatch.setattr(module, "HELD", 0.02)
    found = Pair(state, place)
    yield found
    found.collector.stop()
    found.recording.stop()


def test_what_is_shipped_is_recorded_and_reads_back(pair: Pair, state: State, place: Path) -> None:
    """Of the same attempts, in the order of their ends; what has no arm is shipped only."""
    made = [attempt(n, Arm.CANDIDATE if n % 3 else Arm.STABLE) for n in range(1200)]
    for one in [*made[:600], attempt(7, None), *made[600:]]:
        pair.collector.add(one)
    pair.collector.flush(False)
    pair.recording.stop()
    assert recorded(place / "events") == [replace(one, deployment="", alias="") for one in made]
    _, batches = state.batches("")
    assert sum(len(batch.attempts) for batch in batches) == 1201


def test_a_batch_that_is_shipped_twice_is_recorded_once(
    pair: Pair, state: State, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost."""
    from coalmine.state import StateUnreachable

    real, lost = state.ship, [True]

    def ship(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        if lost:
            lost.pop()
            raise StateUnreachable("no answer")

    monkeypatch.setattr(state, "ship", ship)
    pair.collector.add(attempt(1))
    pair.collector.flush(False)
    pair.collector.flush(False)
    pair.recording.stop()
    assert len(recorded(place / "events")) == 1


def test_where_nothing_can_be_recorded_everything_is_shipped_and_the_loss_counted(
    pair: Pair, state: State, place: Path, until: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A folder that is somebody else's, or a disk that is full: said once."""
    (place / "events").mkdir(mode=0o755)
    for number in range(5):
        pair.collector.add(attempt(number))
        pair.collector.flush(False)

    def counted() -> bool:
        pair.collector.flush(False)
        return state.totals("g1").get(DROPPED) == 5

    until(counted)
    _, batches = state.batches("")
    assert len([from_row(row) for batch in batches for row in batch.attempts]) == 5
    assert caplog.text.count("not ours alone") == 1


def test_a_slow_recording_does_not_hold_up_what_is_shipped(
    pair: Pair, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guardrails wait for what is shipped."""
    monkeypatch.setattr(Recording, "_round", lambda self, last: time.sleep(0.2))
    pair.collector.add(attempt(1))
    began = time.monotonic()
    pair.collector.flush(False)
    assert time.monotonic() - began < 0.15
    assert len(state.batches("")[1]) == 1


@pytest.fixture
def whole(place: Path, patient_state: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A worker with a policy that asks for a recording, without LiteLLM."""
    from coalmine.gateway.worker import Worker

    monkeypatch.setattr(policy_source, "REREAD", 0.0)
    (place / "coalmine.yaml").write_text(POLICY)
    found = Worker({"COALMINE_CONFIG": str(place / "coalmine.yaml")}, [])
    found.follower.start()
    found.collector.start()
    yield found
    found.stop()
    found.executor.shutdown()


def test_a_worker_records_beside_its_policy_and_writes_the_last_at_its_end(
    whole: Any, place: Path, until: Callable[..., Any]
) -> None:
    """With the policy's bounds."""
    until(lambda: whole.follower.state is not None)
    for number in range(3):
        whole.collector.add(attempt(number))
    whole.stop()
    assert len(recorded(place / "recorded")) == 3
    (path,) = (place / "recorded").iterdir()
    assert whole.id in path.name
    assert whole.recording._files.place == Place(place / "recorded", 86400.0, 2_000_000)


def test_the_policy_switches_it_off_without_a_restart(
    whole: Any, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And on again; the place may change meanwhile."""
    caplog.set_level(logging.INFO)
    assert whole._recorded() is not None
    (place / "coalmine.yaml").write_text(POLICY.replace("record:", "# record:"))
    whole.source.reread()
    assert whole._recorded() is None
    (place / "coalmine.yaml").write_text(POLICY.replace("recorded", str(place / "elsewhere")))
    whole.source.reread()
    assert whole._recorded().folder == place / "elsewhere"
