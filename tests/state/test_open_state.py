"""Which URL opens which store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coalmine.state import State, StateRefused, open_state


def test_a_relative_path_is_relative_to_the_base(
    opened: Callable[..., State], tmp_path: Path
) -> None:
    (tmp_path / "kept here").mkdir()
    opened("sqlite:///kept%20here/coalmine.db")
    assert (tmp_path / "kept here" / "coalmine.db").exists()


def test_four_slashes_begin_an_absolute_path(
    opened: Callable[..., State], tmp_path: Path
) -> None:
    opened(f"sqlite:///{tmp_path / 'absolute.db'}")
    assert (tmp_path / "absolute.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:s3cret@host/db", "sqlite3:///x.db", "coalmine.db", "", "redis:s3cret",
        "http://s3cret", ":s3cret@host://x",
    ],
)
def test_an_unknown_scheme_is_refused_with_the_known_ones(url: str, tmp_path: Path) -> None:
    with pytest.raises(StateRefused, match=r"redis://… and rediss://…") as refusal:
        open_state(url, base=tmp_path)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///x.db?mode=ro"]
)
def test_a_sqlite_url_that_names_no_file_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(StateRefused, match="names no file"):
        open_state(url, base=tmp_path)


def test_without_the_redis_client_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from pathlib import Path\n"
        "from coalmine.state import open_state, StateRefused\n"
        "try: open_state('redis://localhost', base=Path('.'))\n"
        "except StateRefused as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2] / "plugin",
    )
    assert "pip install coalmine[redis]" in done.stdout
