"""The collector: every attempt exactly once, whatever the state answers."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.gateway import collector as module
from coalmine.gateway.collector import BATCH, EVERY, KEPT, Collector
from coalmine.gateway.outbox import left_behind
from coalmine.gateway.totals import series
from coalmine.guardrails import Attempt, Outcome, from_row
from coalmine.routing import Arm
from coalmine.state import Batch, State, StateUnreachable

Make = Callable[..., Any]
OK = series("coalmine_attempts_total", "chat", "v2", "candidate", "d", "ok")


def attempt(number: int = 0, outcome: Outcome = Outcome.OK, **fields: Any) -> Attempt:
    usual: dict[str, Any] = {
        "service": "chat", "release": "v2", "arm": Arm.CANDIDATE, "deployment": "d",
        "conversation": f"c{number}", "seconds": 1.0}
    return Attempt(at=float(number), outcome=outcome, **{**usual, **fields})


class Doubtful:
    """A state whose answers get lost; a real one cannot be told when.

    `lost` are the next ships that are done and not confirmed, `refused` those not even done.
    """

    def __init__(self, state: State) -> None:
        self.real, self.lost, self.refused = state, 0, 0
        self.shipped: list[tuple[Batch, bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def ship(self, batch: Batch, *, urgent: bool = False) -> None:
        if self.refused:
            self.refused -= 1
            raise StateUnreachable("away")
        self.shipped.append((batch, urgent))
        self.real.ship(batch, urgent=urgent)
        if self.lost:
            self.lost -= 1
            raise StateUnreachable("no answer within the deadline")


@pytest.fixture
def doubtful(state: State) -> Doubtful:
    """The state, with doubtful answers."""
    return Doubtful(state)


@pytest.fixture
def collector(doubtful: Doubtful) -> Iterator[Make]:
    """Collectors that ship when they are told to."""
    made: list[Collector] = []

    def make(outboxes: Path | None = None, worker: str = "w1") -> Collector:
        made.append(Collector(worker, "g1", lambda: doubtful, outboxes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.stop()


def kept(state: State) -> list[str]:
    """The conversations of all attempts that the state keeps."""
    _, batches = state.batches("")
    return [from_row(row).conversation for batch in batches for row in batch.attempts]


def test_attempts_and_totals_are_shipped_together(collector: Make, state: State) -> None:
    """In the order in which they ended."""
    here = collector()
    for number in range(3):
        here.add(attempt(number))
    here.count("coalmine_cached_total", "chat", "v2")
    here.flush(False)
    assert kept(state) == ["c0", "c1", "c2"]
    totals = state.totals("g1")
    assert totals[OK] == 3
    assert totals[series("coalmine_cached_total", "chat", "v2")] == 1


@pytest.mark.parametrize(("lost", "refused"), [(1, 0), (0, 1), (2, 0), (1, 2), (3, 3)])
def test_a_doubtful_answer_counts_nothing_twice_and_loses_nothing(
    collector: Make, doubtful: Doubtful, state: State, lost: int, refused: int
) -> None:
    """The batch goes again under its number, before anything else."""
    here = collector()
    doubtful.lost, doubtful.refused = lost, refused
    for number in range(10):
        here.add(attempt(number))
        here.count("coalmine_cached_total", "chat", "v2")
        here.flush(False)
    assert kept(state) == [f"c{number}" for number in range(10)]
    assert state.totals("g1")[OK] == 10
    assert state.totals("g1")[series("coalmine_cached_total", "chat", "v2")] == 10


def test_those_who_read_the_metrics_take_turns_with_the_thread(
    collector: Make, state: State
) -> None:
    """Two flushes at once must not ship a later batch before an earlier one."""
    here = collector()
    gate = threading.Barrier(4)

    def work(worker: int) -> None:
        gate.wait()
        for number in range(50):
            here.add(attempt(number, conversation=f"{worker}-{number}"))
            here.flush(False)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept(state)) == sorted(f"{w}-{n}" for w in range(4) for n in range(50))
    assert state.totals("g1")[OK] == 200


def test_many_attempts_go_in_several_batches(
    collector: Make, doubtful: Doubtful, state: State
) -> None:
    """None is larger than a batch may be."""
    here = collector()
    for number in range(BATCH * 2 + 7):
        here.add(attempt(number))
    here.flush(False)
    assert [len(batch.attempts) for batch, _ in doubtful.shipped] == [BATCH, BATCH, 7]
    assert [batch.number for batch, _ in doubtful.shipped] == [1, 2, 3]
    assert len(kept(state)) == BATCH * 2 + 7


def test_what_comes_while_it_ships_waits_for_the_next_time(
    collector: Make, doubtful: Doubtful, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or under load it would ship batches of one without end."""
    here = collector()
    real = doubtful.ship

    def ship(batch: Batch, *, urgent: bool = False) -> None:
        here.add(attempt(99))
        real(batch, urgent=urgent)

    monkeypatch.setattr(doubtful, "ship", ship)
    here.add(attempt())
    here.flush(False)
    assert len(doubtful.shipped) == 1


def test_with_the_state_away_the_oldest_are_dropped_and_counted(
    collector: Make, doubtful: Doubtful, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory has an end; the counter says how many."""
    assert KEPT == 50_000
    monkeypatch.setattr(module, "KEPT", 10)
    here = collector()
    doubtful.refused = 2
    here.add(attempt(0))
    here.flush(False)
    for number in range(1, 16):
        here.add(attempt(number))
    here.flush(False)
    here.flush(False)
    assert kept(state) == ["c0", *(f"c{number}" for number in range(6, 16))]
    assert state.totals("g1")[series("coalmine_dropped_total", "state_unreachable")] == 5


def test_with_the_state_away_what_only_waits_is_dropped_first(
    collector: Make, doubtful: Doubtful, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told again, or by its end; nothing that has ended makes room for it."""
    monkeypatch.setattr(module, "KEPT", 10)
    here = collector()
    doubtful.refused = 2
    here.add(attempt(0))
    here.flush(False)
    for number in range(1, 9):
        here.add(attempt(number))
        here.add(attempt(number, Outcome.WAITING))
    here.flush(False)
    here.flush(False)
    assert kept(state) == [f"c{number}" for number in range(9)]
    assert not state.totals("g1").get(series("coalmine_dropped_total", "state_unreachable"))


def test_without_a_state_nothing_is_lost_up_to_the_cap(doubtful: Doubtful, state: State) -> None:
    """At boot it may be out of reach."""
    reached: list[Any] = []
    here = Collector("w1", "g1", lambda: reached[0] if reached else None)
    for number in range(3):
        here.add(attempt(number))
        here.flush(False)
    reached.append(doubtful)
    here.flush(False)
    assert kept(state) == ["c0", "c1", "c2"]


def test_a_failure_of_the_candidate_is_shipped_at_once_and_rings(
    collector: Make, doubtful: Doubtful, until: Make
) -> None:
    """Long before the next batch would be due."""
    here = collector()
    here.start()
    bell = doubtful.real.bell("listener")
    here.add(attempt(1, Outcome.ERROR))
    until(lambda: any(urgent for _, urgent in doubtful.shipped))
    assert bell.wait(1.0)
    bell.close()


def test_a_storm_of_failures_rings_a_few_times_only(collector: Make, doubtful: Doubtful) -> None:
    """Every ring wakes every worker."""
    here = collector()
    here.start()
    end = time.monotonic() + EVERY
    while time.monotonic() < end:
        here.add(attempt(1, Outcome.ERROR))
        time.sleep(0.001)
    assert len(doubtful.shipped) <= EVERY / module.TOGETHER + 3


def test_others_wait_for_the_next_batch(collector: Make, doubtful: Doubtful) -> None:
    """Nothing of stable's or of the client's is urgent."""
    here = collector()
    here.add(attempt(1, Outcome.ERROR, arm=Arm.STABLE))
    here.add(attempt(1, Outcome.DISCONNECT))
    assert not here._wake.is_set()
    here.add(attempt(1, Outcome.TIMEOUT))
    assert here._wake.is_set()


def test_stopping_ships_what_is_left(collector: Make, state: State) -> None:
    """Once, and also one that never ran can be stopped."""
    here = collector()
    here.start()
    here.add(attempt(1))
    here.stop()
    assert kept(state) == ["c1"]
    collector(worker="w2").stop()


@pytest.mark.parametrize("name", ["\ud800", "x" * 100_000, "a\x1fcandidate\x1fok", "ünï"])
def test_whatever_a_client_calls_a_model_the_batch_is_kept(
    collector: Make, state: State, name: str
) -> None:
    """Without a policy the service is the client's word; the others count all the same."""
    here = collector()
    here.add(attempt(1, service=name, alias=name))
    here.add(attempt(2))
    here.flush(False)
    assert kept(state) == ["c1", "c2"]
    assert state.totals("g1")[OK] == 1
    (written,) = [n for n in state.totals("g1") if n.startswith("coalmine_attempts_total")
                  and n != OK]
    assert len(written) < 400
    assert len(written.split("\x1f")) == 6


def test_a_batch_that_no_state_can_keep_does_not_hold_up_the_others(
    collector: Make, doubtful: Doubtful, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped and counted; the thread lives."""
    here = collector()
    real, faults = doubtful.ship, [TypeError("not JSON")]

    def ship(batch: Batch, *, urgent: bool = False) -> None:
        if faults:
            raise faults.pop()
        real(batch, urgent=urgent)

    monkeypatch.setattr(doubtful, "ship", ship)
    here.add(attempt(1))
    here.flush(False)
    here.add(attempt(2))
    here.flush(False)
    assert kept(state) == ["c2"]
    assert state.totals("g1")[series("coalmine_dropped_total", "malformed")] == 1


@pytest.mark.parametrize("field", ["service", "release", "deployment", "alias"])
@pytest.mark.parametrize("name", ["\ud800", "x" * 100_000, "a\x1fb", "ünï"])
def test_no_name_is_too_long_or_strange_to_be_kept(
    collector: Make, state: State, tmp_path: Path, field: str, name: str
) -> None:
    """Neither in the outbox nor in the state; the same for a counter's labels."""
    here = collector(tmp_path / "outboxes")
    here.add(attempt(1, **{field: name}))
    here.count("coalmine_cached_total", name[:9], "v2")
    here.flush(False)
    _, (batch,) = state.batches("")
    assert from_row(batch.attempts[0]).conversation == "c1"
    assert all(len(text) <= module.TEXT for text in batch.attempts[0] if isinstance(text, str))
    assert sum(name.startswith("coalmine_cached_total") for name in state.totals("g1")) == 1


def test_an_attempt_that_is_no_json_is_dropped_and_counted(
    collector: Make, state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises into no request, and holds up no other; whatever is told of it later."""
    here = collector(tmp_path / "outboxes")
    odd = attempt(1, tokens=2**70)
    name = here.wait(odd)
    here.add(odd, name)
    here.void(name)
    here.add(attempt(2))
    here.flush(False)
    assert kept(state) == ["c2"]
    assert state.totals("g1")[series("coalmine_dropped_total", "malformed")] == 1
    assert "cannot be written" in caplog.text


# the stop -----------------------------------------------------------------------------------------
def die(worker: Collector) -> None:
    """End as a process does: its lock goes, its file stays."""
    assert worker._outbox is not None
    os.close(worker._outbox._file)
    worker._outbox = worker._outboxes = None
    worker._attempts.clear()
    worker._untold.clear()


def test_a_stop_leaves_no_file_and_may_come_twice(
    collector: Make, state: State, tmp_path: Path
) -> None:
    here = collector(tmp_path / "outboxes")
    here.start()
    here.add(attempt(1))
    here.stop()
    here.stop()
    assert kept(state) == ["c1"]
    assert not (tmp_path / "outboxes").exists()


def test_what_ends_after_the_stop_is_left_to_another_worker(
    collector: Make, state: State, tmp_path: Path
) -> None:
    """And what is taken back after it is forgotten."""
    here = collector(tmp_path / "outboxes")
    here.start()
    here.add(attempt(1))
    here.stop()
    here.add(attempt(2))
    here.void(here.wait(attempt(3)))
    here.stop()
    die(here)
    collector(tmp_path / "outboxes", "w2").flush(False)
    assert kept(state) == ["c1", "c2"]
    assert state.totals("g1")[OK] == 2


def test_what_ends_while_it_stops_is_shipped_or_left(
    collector: Make, state: State, tmp_path: Path, until: Make
) -> None:
    """The hooks run on while the thread that stops is another one."""
    here = collector(tmp_path / "outboxes")
    here.start()
    stopped = threading.Event()
    added: list[str] = []

    def work() -> None:
        while not stopped.is_set():
            here.add(attempt(len(added)))
            added.append(f"c{len(added)}")

    thread = threading.Thread(target=work)
    thread.start()
    here.stop()
    stopped.set()
    thread.join()
    until(lambda: not here._thread.is_alive())
    if here._outbox is not None:
        die(here)
    collector(tmp_path / "outboxes", "w2").flush(False)
    assert sorted(kept(state)) == sorted(added)


def test_what_is_being_shipped_when_it_stops_stays_in_the_outbox(
    collector: Make, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a reader of the metrics has taken and not yet handed to the state."""
    here = collector(tmp_path / "outboxes")
    here.add(attempt(1))
    taken, go = threading.Event(), threading.Event()
    real = module.totals_of

    def slowly(attempts: Any) -> dict[str, float]:
        taken.set()
        go.wait(10)
        return real(attempts)

    monkeypatch.setattr(module, "totals_of", slowly)
    monkeypatch.setattr(module, "JOIN", 0.05)
    reader = threading.Thread(target=here.flush, args=(False,))
    reader.start()
    assert taken.wait(10)
    here.stop()
    (batch,) = left_behind((tmp_path / "outboxes" / "w1.outbox").read_text())
    assert [from_row(row).conversation for row in batch.attempts] == ["c1"]
    go.set()
    reader.join()
    here.stop()
    assert kept(state) == ["c1"]
    assert not (tmp_path / "outboxes").exists()


def test_a_stop_does_not_wait_for_a_state_that_hangs(
    collector: Make, doubtful: Doubtful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    until: Make,
) -> None:
    """What it was shipping is there for the next."""
    here = collector(tmp_path / "outboxes")
    taken, go = threading.Event(), threading.Event()

    def hang(batch: Batch, *, urgent: bool = False) -> None:
        taken.set()
        go.wait(10)

    monkeypatch.setattr(doubtful, "ship", hang)
    monkeypatch.setattr(module, "JOIN", 0.05)
    here.start()
    here.add(attempt(1, Outcome.ERROR))
    assert taken.wait(10)
    began = time.monotonic()
    here.stop()
    assert time.monotonic() - began < 1
    here.add(attempt(2))
    text = (tmp_path / "outboxes" / "w1.outbox").read_text()
    assert [from_row(row).conversation for batch in left_behind(text)
            for row in batch.attempts] == ["c1", "c2"]
    go.set()
    until(lambda: not here._thread.is_alive())


def test_one_that_never_ran_leaves_what_it_was_told(
    collector: Make, state: State, tmp_path: Path
) -> None:
    here = collector(tmp_path / "outboxes")
    here.add(attempt(1))
    here.stop()
    die(here)
    collector(tmp_path / "outboxes", "w2").flush(False)
    assert kept(state) == ["c1"]


def test_without_an_outbox_what_is_lost_by_a_stop_is_said(
    collector: Make, doubtful: Doubtful, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be shipped, and what ends later."""
    here = collector()
    here.add(attempt(1))
    doubtful.refused = 1
    here.flush(False)
    with caplog.at_level(logging.WARNING):
        here.stop()
        here.add(attempt(2))
    assert "1 attempts could not be shipped" in caplog.text
    assert "after the stop is lost" in caplog.text
    assert here._counts[series("coalmine_dropped_total", "stopped")] == 1


# the outbox ---------------------------------------------------------------------------------------
def test_what_a_killed_worker_left_is_shipped_once(
    collector: Make, doubtful: Doubtful, state: State, tmp_path: Path
) -> None:
    """Also the batch whose answer it did not live to see."""
    folder = tmp_path / "outboxes"
    dead = collector(folder)
    dead.add(attempt(1))
    dead.flush(False)
    dead.add(attempt(2))
    doubtful.lost = 1
    dead.flush(False)
    dead.add(attempt(3))
    text = dead._outbox.path.read_text()
    (folder / "dead.outbox").write_text(text)  # no lock: its owner is gone
    dead._outbox.close(empty=True)
    dead._outbox = dead._outboxes = None
    heir = collector(folder, "w2")
    heir.flush(False)
    assert kept(state) == ["c1", "c2", "c3"]
    assert not (folder / "dead.outbox").exists()


def test_an_outbox_that_cannot_be_written_costs_no_attempt(
    collector: Make, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full /dev/shm must not raise into a client's request; it is tried again later."""
    here = collector(tmp_path / "outboxes")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(here._outbox, "attempt", full)
    here.add(attempt(1))
    assert here._outbox is None
    here.flush(False)
    assert here._outbox is not None
    here.add(attempt(2))
    here.flush(False)
    assert kept(state) == ["c1", "c2"]


def test_an_outbox_does_not_grow_for_as_long_as_the_state_is_away(
    collector: Make, doubtful: Doubtful, state: State, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the cap its lines would no longer match either; after it, it goes on counting."""
    monkeypatch.setattr(module, "KEPT", 10)
    here = collector(tmp_path / "outboxes")
    doubtful.refused = 1
    for number in range(20):
        here.add(attempt(number))
    here.flush(False)  # all are in the doubtful batch
    for number in range(20, 40):
        here.add(attempt(number))
    doubtful.refused = 1
    here.flush(False)
    assert here._outbox is None
    here.flush(False)
    here.add(attempt(99))
    batches = left_behind(here._outbox.path.read_text())
    assert [from_row(row).conversation for row in batches[-1].attempts] == ["c99"]
    assert batches[-1].number == here._number + 1
