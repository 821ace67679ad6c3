"""The folder in which workers without a policy share their figures."""

import os
from pathlib import Path

import pytest

from coalmine.gateway.observing import ObservingPlace
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
