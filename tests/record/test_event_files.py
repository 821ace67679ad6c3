"""The files of events: ours alone, in time order, rotated, and bounded together."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.record import event_files as module
from coalmine.record.event_files import DAY, SHARE, TIDY, EventFiles, Place
from coalmine.state.private_folder import NotPrivate

NOW = 1_700_000_000.0
LINE = b"x" * 99 + b"\n"


class Clock:
    """A wall clock to turn by hand."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def files(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., EventFiles]]:
    """Files of workers in one folder."""
    made: list[EventFiles] = []

    def make(worker: str = "w1", keep: float = 7 * DAY, max_bytes: int = 1_000_000) -> EventFiles:
        place = Place(tmp_path / "events", keep, max_bytes)
        made.append(EventFiles(place, worker, clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def written(tmp_path: Path) -> list[str]:
    """The names of all files, oldest first."""
    found = sorted((tmp_path / "events").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [path.name for path in found]


def aged(path: Path, seconds: float) -> None:
    """Let a file's last write be so long ago."""
    os.utime(path, (NOW - seconds, NOW - seconds))


def test_folder_and_files_are_readable_by_their_owner_only(tmp_path: Path, files: Any) -> None:
    """Whatever the umask says."""
    before = os.umask(0)
    try:
        files().write([(1.0, LINE), (2.0, LINE)])
    finally:
        os.umask(before)
    (path,) = (tmp_path / "events").iterdir()
    assert path.read_bytes() == LINE * 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.name == "20231114T221320Z-w1-1.jsonl"


def test_a_folder_that_others_can_look_into_is_refused(tmp_path: Path, files: Any) -> None:
    (tmp_path / "events").mkdir(mode=0o755)
    with pytest.raises(NotPrivate):
        files().write([(1.0, LINE)])


def test_a_folder_whose_parent_is_missing_is_not_made(tmp_path: Path) -> None:
    """A disk that is not mounted must not be filled where it would be."""
    files = EventFiles(Place(tmp_path / "missing" / "events", DAY, 1_000_000), "w1")
    with pytest.raises(FileNotFoundError):
        files.write([(1.0, LINE)])


def test_each_worker_writes_its_own(tmp_path: Path, files: Any) -> None:
    for name in ("w1", "w2"):
        files(name).write([(1.0, LINE)])
    assert sorted(written(tmp_path)) == [
        "20231114T221320Z-w1-1.jsonl", "20231114T221320Z-w2-1.jsonl"]


def test_a_large_file_is_followed_by_another(tmp_path: Path, files: Any) -> None:
    """So that the oldest can be taken away alone."""
    here = files(max_bytes=SHARE * 1000)
    for at in range(25):
        here.write([(at, LINE)])
    sizes = [(tmp_path / "events" / name).stat().st_size for name in sorted(written(tmp_path))]
    assert sizes == [1000, 1000, 500]


@pytest.mark.parametrize(("keep", "span"), [(7 * DAY, DAY), (60.0, 60.0)])
def test_a_file_holds_a_day_at_most_and_no_more_than_is_kept(
    tmp_path: Path, files: Any, keep: float, span: float
) -> None:
    """So nothing is kept for long after its time."""
    here = files(keep=keep)
    for at in (0.0, span - 1, span, span + 1):
        here.write([(at, LINE)])
    assert [(tmp_path / "events" / name).stat().st_size for name in sorted(written(tmp_path))] == [
        200, 200]


def test_an_event_older_than_the_last_begins_a_file(tmp_path: Path, files: Any) -> None:
    """Each file is in time order, whatever the clock did."""
    here = files()
    for at in (10.0, 11.0, 5.0, 6.0):
        here.write([(at, b"%d\n" % at)])
    contents = [(tmp_path / "events" / name).read_text() for name in sorted(written(tmp_path))]
    assert contents == ["10\n11\n", "5\n6\n"]


def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path, files: Any) -> None:
    """With its folder."""
    here = files()
    here.write([(1.0, LINE)])
    (path,) = (tmp_path / "events").iterdir()
    path.unlink()
    path.parent.rmdir()
    here.write([(2.0, LINE)])
    assert [(tmp_path / "events" / name).read_bytes() for name in written(tmp_path)] == [LINE]


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing, and the next write goes on where the last whole one ended."""
    here = files()
    here.write([(1.0, LINE)])
    real, room = os.write, [50]

    def full(file: int, data: Any) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(file, bytes(data)[:room.pop()])

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        here.write([(2.0, LINE), (3.0, LINE)])
    monkeypatch.setattr(module.os, "write", real)
    here.write([(4.0, b"again\n")])
    (path,) = (tmp_path / "events").iterdir()
    assert path.read_bytes() == LINE + b"again\n"


# the bounds ---------------------------------------------------------------------------------------
def test_what_is_too_old_is_taken_away_whoever_wrote_it(
    tmp_path: Path, files: Any, clock: Clock
) -> None:
    """Also compressed; nothing that no worker wrote, and not what is being written."""
    folder = tmp_path / "events"
    dead, alive = files("dead"), files("alive")
    dead.write([(1.0, LINE)])
    alive.write([(1.0, LINE)])
    for name in ("20200101T000000Z-gone-3.jsonl.gz", "notes.jsonl", "mine.txt"):
        (folder / name).touch()
    for path in folder.iterdir():
        aged(path, 7 * DAY + 1)
    alive.tidy()
    assert sorted(written(tmp_path)) == [
        "20231114T221320Z-alive-1.jsonl", "mine.txt", "notes.jsonl"]


def test_of_too_much_the_oldest_goes_first(tmp_path: Path, files: Any) -> None:
    """And what is being written stays, though it be the oldest."""
    folder = tmp_path / "events"
    here = files(max_bytes=1000)
    here.write([(1.0, LINE)])
    for age in range(1, 6):
        path = folder / f"20200101T00000{age}Z-w{age}-1.jsonl"
        path.write_bytes(b"x" * 300)
        aged(path, age)
    aged(folder / "20231114T221320Z-w1-1.jsonl", 100)
    here.tidy()
    assert written(tmp_path) == [
        "20231114T221320Z-w1-1.jsonl", *(f"20200101T00000{age}Z-w{age}-1.jsonl"
                                         for age in (3, 2, 1))]


def test_the_folder_is_looked_at_once_a_minute_or_after_much(
    tmp_path: Path, files: Any, clock: Clock
) -> None:
    """A look takes time."""
    here = files(max_bytes=SHARE * 1000)
    old = tmp_path / "events" / "20200101T000000Z-gone-3.jsonl"

    def taken(seconds: float, events: int) -> bool:
        here.write([(1.0, LINE)] * events)
        old.touch()
        aged(old, 8 * DAY)
        clock.now += seconds
        here.tidy()
        return not old.exists()

    assert taken(0, events=1), "the first time"
    assert not taken(TIDY - 1, events=1)
    assert taken(1, events=1)
    assert not taken(1, events=1)
    assert taken(1, events=10)
    assert taken(-3600, events=1), "the clock was set back"


def test_a_folder_that_is_not_there_needs_no_tidying(files: Any) -> None:
    files().tidy()


def test_many_workers_together_stay_within_the_bound(tmp_path: Path, files: Any) -> None:
    """An eighth of it for each may be over, until the next look."""
    workers = [files(f"w{n}", max_bytes=80_000) for n in range(3)]
    for at in range(2000):
        for each in workers:
            each.write([(at, LINE)])
            each.tidy()
    total = sum((tmp_path / "events" / name).stat().st_size for name in written(tmp_path))
    assert 40_000 < total <= 80_000 + 3 * 10_000 + 3 * 100
