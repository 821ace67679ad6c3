"""A folder that is ours alone: made, or taken as it is when nobody else can be in it."""

import os
from pathlib import Path

import pytest

from coalmine.state.private_folder import NotPrivate, is_private, make_private, same_file


def test_it_is_made_once_and_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    make_private(folder)
    make_private(folder)
    assert is_private(folder)


def test_what_may_be_somebody_elses_is_refused(tmp_path: Path) -> None:
    """Open to others, a link, or no folder at all."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "file").touch(mode=0o600)
    for name in ("open", "link", "nowhere", "file"):
        with pytest.raises(NotPrivate, match="not ours alone"):
            make_private(tmp_path / name)


def test_a_file_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    assert same_file(file, path)
    path.unlink()
    assert not same_file(file, path)
    path.touch()
    assert not same_file(file, path)
    os.close(file)
