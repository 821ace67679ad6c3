"""The folder in which workers without a policy share their figures."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from coalmine.gateway import observing as module
from coalmine.gateway.observing import LOCK, ObservingPlace
from coalmine.state import StateRefused


def place(root: Path, run: str = "a") -> ObservingPlace:
    found = ObservingPlace(root, run)
    found.enter()
    return found


def test_workers_of_a_run_share_it_and_the_last_takes_it_away(tmp_path: Path) -> None:
    one, other = place(tmp_path), place(tmp_path)
    (one.path / "observe.db").write_text("figures")
    assert one.path == other.path
    one.leave()
    assert (other.path / "observe.db").read_text() == "figures"
    other.leave()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_has_left_is_cleared_away(tmp_path: Path) -> None:
    killed = place(tmp_path, "killed")
    lives = place(tmp_path, "lives")
    assert killed._lock is not None
    os.close(killed._lock)  # as the system does for a process that was killed
    place(tmp_path, "new")
    assert not killed.path.exists()
    assert lives.path.exists()


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    found = ObservingPlace(tmp_path, "a")
    found.path.mkdir(mode=0o755)
    with pytest.raises(StateRefused, match="not ours alone"):
        found.enter()


def test_leaving_twice_changes_nothing(tmp_path: Path) -> None:
    one, other = place(tmp_path), place(tmp_path)
    one.leave()
    one.leave()
    assert other.path.exists()


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """Another user of /tmp may have put it there: it leads where he likes."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir(mode=0o700)
    found = ObservingPlace(root, "a")
    found.path.symlink_to(elsewhere)
    with pytest.raises(StateRefused, match="not ours alone"):
        found.enter()
    assert list(elsewhere.iterdir()) == []


def test_who_comes_while_the_last_one_leaves_finds_a_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes a new one: the old one has been put aside."""
    leaves, comes = place(tmp_path), ObservingPlace(tmp_path, "a")
    remove = shutil.rmtree

    def slowly(path: Path, **named: Any) -> None:
        monkeypatch.undo()
        (path / LOCK).unlink()
        comes.enter()
        (comes.path / "observe.db").write_text("figures")
        remove(path, **named)

    monkeypatch.setattr(module.shutil, "rmtree", slowly)
    leaves.leave()
    assert [path.name for path in tmp_path.iterdir()] == [comes.path.name]
    assert (comes.path / "observe.db").read_text() == "figures"
    other = place(tmp_path)
    comes.leave()
    assert other.path.exists(), "both are in the same one"


def test_what_was_put_aside_by_one_that_died_over_it_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = place(tmp_path)
    (one.path / "observe.db").write_text("figures")

    def killed(path: Path, **_: Any) -> None:
        (path / LOCK).unlink()

    monkeypatch.setattr(module.shutil, "rmtree", killed)
    one.leave()
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    new = place(tmp_path, "new")
    assert list(tmp_path.iterdir()) == [new.path]


def test_one_that_was_made_anew_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a dead run's lock and the taking of it another may have cleared it."""
    dead = place(tmp_path, "dead")
    assert dead._lock is not None
    os.close(dead._lock)
    again = ObservingPlace(tmp_path, "dead")
    lock = module.fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.undo()
        shutil.rmtree(dead.path)
        again.enter()
        lock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    module._clear(dead.path)
    assert (again.path / LOCK).exists()
