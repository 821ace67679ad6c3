"""The recording: what ended stands in files, in order, whatever the disk does."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coalmine.guardrails import Attempt, Outcome
from coalmine.record import event_files
from coalmine.record import recording as module
from coalmine.record.event_files import Place
from coalmine.record.events import Reader
from coalmine.record.recording import HELD, Recording
from coalmine.record.sources import read_source
from coalmine.routing import Arm

Make = Callable[..., Attempt]


class Desk:
    """A recording with what surrounds it; `waits` is how long attempts are held."""

    def __init__(self, folder: Path) -> None:
        self.place: Place | None = Place(folder, 7 * 86400.0, 1_000_000)
        self.dropped: list[int] = []
        self.now = 1000.0
        self.recording = Recording(
            "w1", lambda: self.place, self.dropped.append, mono=lambda: self.now)

    def add(self, *attempts: Attempt) -> None:
        self.recording.add(attempts)

    def read(self, folder: Path | None = None) -> list[Attempt]:
        """What a reader makes of the folder, which nothing in it may be a fault of."""
        folder = folder or (self.place.folder if self.place else None)
        assert folder is not None
        if not folder.exists() or not any(folder.iterdir()):  # its first file is about to be made
            return []
        reader = Reader("chat", stable="v1", candidate="v2")
        found = list(reader.events(read_source(folder)))
        assert not reader.faults
        return found  # type: ignore[return-value]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A recording that writes every few milliseconds."""
    monkeypatch.setattr(module, "EVERY", 0.005)
    found = Desk(tmp_path / "events")
    yield found
    found.recording.stop()


def bare(attempt: Attempt) -> Attempt:
    """As it reads back: without what is for the gateway alone."""
    return replace(attempt, deployment="", alias="")


def test_what_ended_reads_back_as_it_was(desk: Desk, attempt: Make) -> None:
    """On both arms, with every outcome."""
    made = [
        attempt(1_700_000_000.123456, conversation="c1"),
        attempt(1_700_000_001.5, arm=Arm.STABLE, release="v1", outcome=Outcome.ERROR, ttft=None),
        attempt(1_700_000_002.25, outcome=Outcome.DISCONNECT, first_turn=False),
        attempt(1_700_000_002.5, conversation="-", evidence=False, chance=None, first_turn=False),
    ]
    desk.add(*made)
    desk.recording.stop()
    assert desk.read() == [bare(one) for one in made]
    assert desk.dropped == []


@pytest.mark.parametrize("fields", [
    {"arm": None}, {"outcome": Outcome.DOWN}, {"outcome": Outcome.WAITING}])
def test_what_is_of_no_arm_or_has_not_ended_is_not_recorded(
    desk: Desk, attempt: Make, fields: dict[str, Any]
) -> None:
    """An admin's try, a deployment of no service; no thread is made for them."""
    desk.add(attempt(**fields))
    assert desk.recording._thread is None
    assert desk.dropped == []


def test_what_is_told_late_is_put_in_its_place(
    desk: Desk, attempt: Make, until: Callable[..., Any]
) -> None:
    """An answer waits for LiteLLM's log event; a failure that ended after it does not."""
    desk.add(attempt(10.0), attempt(12.0))
    desk.now += HELD - 1
    desk.add(attempt(11.0), attempt(15.0))
    assert desk.read() == []
    desk.now += 1
    until(lambda: len(desk.read()) == 3)
    assert [one.at for one in desk.read()] == [10.0, 11.0, 12.0]
    desk.recording.stop()
    assert [one.at for one in desk.read()] == [10.0, 11.0, 12.0, 15.0]


def test_what_is_told_too_late_is_in_a_file_of_its_own(
    desk: Desk, attempt: Make, until: Callable[..., Any]
) -> None:
    """So that each is in time order, and the folder too."""
    desk.add(attempt(10.0))
    desk.now += HELD
    until(desk.read)
    desk.add(attempt(5.0))
    desk.recording.stop()
    assert [one.at for one in desk.read()] == [5.0, 10.0]
    assert len(list((desk.place or Place(Path(), 0, 0)).folder.iterdir())) == 2


def test_nothing_is_recorded_where_nobody_asked_for_it(desk: Desk, attempt: Make) -> None:
    desk.place = None
    desk.add(attempt())
    assert desk.recording._thread is None


def test_it_is_switched_on_moved_and_switched_off_while_it_runs(
    desk: Desk, attempt: Make, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """What is held goes where it was said then."""
    first, second = desk.place, Place(tmp_path / "other", 86400.0, 1_000_000)
    desk.add(attempt(1.0))
    until(lambda: desk.recording._files is not None)
    desk.place = second
    until(lambda: desk.read(tmp_path / "events"))
    desk.add(attempt(2.0))
    until(lambda: desk.recording._held)
    desk.place = None
    until(lambda: desk.read(second.folder))
    desk.add(attempt(3.0))
    desk.place = first
    desk.add(attempt(4.0))
    desk.recording.stop()
    assert [one.at for one in desk.read()] == [1.0, 4.0]
    assert [one.at for one in desk.read(second.folder)] == [2.0]


@pytest.mark.parametrize("spoil", ["missing", "open", "full"])
def test_a_place_that_cannot_be_written_is_said_once_and_counted(
    desk: Desk, attempt: Make, tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spoil: str,
) -> None:
    """And when it can be written again, it goes on; nothing raises."""
    caplog.set_level(logging.INFO)
    folder = tmp_path / "events"
    if spoil == "missing":
        folder = tmp_path / "mount" / "events"
        desk.place = Place(folder, 86400.0, 1_000_000)
    elif spoil == "open":
        folder.mkdir(mode=0o755)
    else:
        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(event_files.os, "write", full)
    for at in (1.0, 2.0, 3.0):
        desk.add(attempt(at), attempt(at + 0.5))
        desk.now += HELD
        until(lambda at=at: sum(desk.dropped) == 2 * at)
    assert caplog.text.count("attempts are not recorded: ") == 1
    if spoil == "missing":
        folder.parent.mkdir()
    elif spoil == "open":
        folder.chmod(0o700)
    else:
        monkeypatch.setattr(event_files.os, "write", REAL_WRITE)
    desk.add(attempt(4.0))
    desk.now += HELD
    until(lambda: "recorded again" in caplog.text)
    assert [one.at for one in desk.read()] == [4.0]
    assert sum(desk.dropped) == 6
    assert desk.recording._waiting == 0


REAL_WRITE = os.write


def test_what_is_no_json_is_dropped_alone(desk: Desk, attempt: Make) -> None:
    desk.add(attempt(1.0, tokens=2**70), attempt(2.0))
    desk.recording.stop()
    assert [one.at for one in desk.read()] == [2.0]
    assert desk.dropped == [1]
    assert desk.recording._waiting == 0


def test_a_fault_of_ours_loses_what_is_held_and_no_more(
    desk: Desk, attempt: Make, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread lives, and the loss is counted."""
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(event_files.EventFiles, "write", broken)
        desk.add(attempt(1.0), attempt(2.0))
        desk.now += HELD
        until(lambda: desk.dropped)
    desk.add(attempt(3.0))
    desk.recording.stop()
    assert [one.at for one in desk.read()] == [3.0]
    assert desk.dropped == [2]
    assert desk.recording._waiting == 0
    assert "out of order" in caplog.text


def test_a_disk_that_hangs_holds_up_nobody_and_memory_has_an_end(
    desk: Desk, attempt: Make, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes when too much waits is dropped and counted."""
    monkeypatch.setattr(module, "KEPT", 3)
    monkeypatch.setattr(module, "JOIN", 0.01)
    hangs, go = threading.Event(), threading.Event()
    real = event_files.EventFiles.write

    def hang(files: Any, events: Any) -> None:
        hangs.set()
        assert go.wait(10)
        real(files, events)

    monkeypatch.setattr(event_files.EventFiles, "write", hang)
    desk.add(attempt(1.0))
    desk.now += HELD
    assert hangs.wait(10)
    desk.add(attempt(2.0), attempt(3.0))
    desk.add(attempt(4.0), attempt(5.0))
    assert desk.dropped == [2]
    desk.recording.stop()
    go.set()
    thread = desk.recording._thread
    until(lambda: thread is not None and not thread.is_alive())
    assert [one.at for one in desk.read()] == [1.0, 2.0, 3.0]


def test_a_stop_writes_what_is_held_and_may_come_twice(
    desk: Desk, attempt: Make, until: Callable[..., Any]
) -> None:
    """What comes after it is dropped and counted."""
    desk.add(attempt(1.0))
    desk.recording.stop()
    desk.recording.stop()
    desk.add(attempt(2.0))
    assert [one.at for one in desk.read()] == [1.0]
    assert desk.dropped == [1]
    until(lambda: not [t for t in threading.enumerate() if t.name == "coalmine-recording"])


def test_nothing_that_a_client_chose_is_recorded(desk: Desk, attempt: Make) -> None:
    """Hashes and figures; not the alias of a key either."""
    desk.add(attempt(alias="alice@example.com"))
    desk.recording.stop()
    assert desk.place is not None
    (path,) = desk.place.folder.iterdir()
    assert "alice" not in path.read_text()
