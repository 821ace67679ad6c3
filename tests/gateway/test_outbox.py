"""The outbox's file: made, locked and adopted while others do the same."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.gateway import outbox as module
from coalmine.gateway.outbox import Outbox, adopt, left_behind

Make = Callable[..., Outbox]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a gateway's outboxes, not yet made."""
    return tmp_path / "outboxes"


@pytest.fixture
def outbox(folder: Path) -> Iterator[Make]:
    """Outboxes, given back after the test."""
    made: list[Outbox] = []

    def make(worker: str = "w1", **fields: Any) -> Outbox:
        made.append(Outbox(folder, worker, "g1", **fields))
        return made[-1]

    yield make
    for each in made:
        each.close(empty=False)


def locked(path: Path) -> bool:
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def test_a_link_to_a_folder_is_refused(outbox: Make, folder: Path, tmp_path: Path) -> None:
    """Another user of /dev/shm may have put it there: it leads where he likes."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="not ours alone"):
        outbox()
    assert list(elsewhere.iterdir()) == []


def test_one_that_others_can_read_is_refused(outbox: Make, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="not ours alone"):
        outbox()


def test_a_folder_that_is_taken_away_again_and_again_is_made_anew(
    outbox: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By workers that end one after another."""
    ends, opened = [1, 2, 3], os.open

    def late(*arguments: Any) -> int:
        if ends:
            ends.pop()
            folder.rmdir()
        return opened(*arguments)

    monkeypatch.setattr(module.os, "open", late)
    here = outbox()
    assert not ends
    assert locked(here.path)


def test_a_file_that_is_adopted_before_it_is_locked_is_made_anew(
    outbox: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody locks looks like a dead worker's."""
    lock = fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.undo()
        assert adopt(folder, None, lambda batch: None) == 0
        assert not (folder / "w1.outbox").exists()
        lock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    here = outbox()
    here.attempt(1, ["row"])
    assert locked(here.path)
    assert left_behind(here.path.read_text())[0].attempts == (["row"],)


def test_a_file_into_which_another_looks_is_waited_for(
    outbox: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes it away when it is done."""
    folder.mkdir(mode=0o700)
    path = folder / "w1.outbox"
    other = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(other, fcntl.LOCK_EX)

    def done(_: float) -> None:
        path.unlink()
        os.close(other)

    monkeypatch.setattr(module.time, "sleep", done)
    assert locked(outbox().path)


def test_a_file_that_was_begun_anew_is_not_adopted_for_the_old_one(
    outbox: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner lives."""
    folder.mkdir(mode=0o700)
    (folder / "w1.outbox").write_text('["worker","w1","g1",0]\n["attempt",1,["row"]]\n')
    lock, made = fcntl.flock, []

    def late(file: int, how: int) -> None:
        monkeypatch.undo()
        (folder / "w1.outbox").unlink()
        made.append(outbox())
        lock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    assert adopt(folder, None, lambda batch: None) == 0
    assert made[0].path.exists()


def test_one_that_begins_later_goes_on_counting(outbox: Make) -> None:
    """So the state does not take its first batch for one that it has."""
    here = outbox(number=7)
    here.attempt(1, ["row"])
    (batch,) = left_behind(here.path.read_text())
    assert (batch.number, batch.attempts) == (8, (["row"],))


def test_one_that_cannot_be_begun_leaves_nothing(
    outbox: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full /dev/shm; it is tried again and again."""
    files = len(os.listdir("/proc/self/fd"))

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            outbox()
    assert len(os.listdir("/proc/self/fd")) == files
    assert not folder.exists()
