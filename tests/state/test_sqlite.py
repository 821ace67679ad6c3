"""What only SQLite can suffer: files, disks, users, forks."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.rollout.service import Service
from coalmine.state import (
    Batch,
    Beat,
    Entry,
    State,
    StateBusy,
    StateCorrupt,
    StateRefused,
    StateUnreachable,
)
from coalmine.state.sqlite_place import check_place, file_system

URL = "sqlite:///coalmine.db"
ROOT = os.geteuid() == 0


@pytest.fixture
def url() -> str:
    """The URL of an empty SQLite state."""
    return URL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where it is."""
    return tmp_path / "coalmine.db"


def key(number: int) -> bytes:
    """A key."""
    return number.to_bytes(8, "big")


def _overwrite(path: Path, start: int) -> None:
    # From another process: to open and close it here would drop SQLite's locks on it.
    program = (
        "import sys, os\n"
        "path, start = sys.argv[1], int(sys.argv[2])\n"
        "size = os.path.getsize(path)\n"
        "with open(path, 'r+b') as file:\n"
        "    file.seek(start)\n"
        "    file.write(b'damaged!' * ((size - start) // 8))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(start)], check=True)


# damage -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", [0, 4096], ids=["from its beginning on", "in its tables"])
def test_a_damaged_state_is_refused_and_left_as_it_is(
    opened: Callable[..., State], path: Path, service: Service, entry: Entry, start: int
) -> None:
    state = opened(URL)
    state.swap(None, service, entry)
    state.close()
    _overwrite(path, start)
    before = path.read_bytes()
    with pytest.raises(StateCorrupt, match="is damaged"):
        opened(URL)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["pins", "figures"])
def test_damaged_pins_or_figures_are_moved_aside_and_begun_anew(
    opened: Callable[..., State], path: Path, service: Service, entry: Entry, name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = opened(URL)
    state.swap(None, service, entry)
    state.close()
    _overwrite(path.with_name(f"coalmine.db.{name}"), 0)
    state = opened(URL)
    assert state.load() == {"chat": service}
    assert state.claim(key(1), 1) is None
    state.beat(Beat("w1", "g1"))
    assert path.with_name(f"coalmine.db.{name}.damaged").exists()
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "begun anew" in record.getMessage()


def test_pins_that_are_damaged_while_they_are_used_are_begun_anew_for_all(
    opened: Callable[..., State], path: Path, unopened_peers: list[Any], tmp_path: Path
) -> None:
    filler = opened(URL)
    for number in range(3000):
        filler.claim(key(number), 1)
    filler.close()
    state = opened(URL)
    other = unopened_peers[0]
    other.ask("open", URL, tmp_path)
    _overwrite(path.with_name("coalmine.db.pins"), 3 * 4096)
    for number in range(0, 3000, 50):
        state.resolve([key(number)])
    assert path.with_name("coalmine.db.pins.damaged").exists()
    assert state.claim(key(5000), 7) is None
    assert other.ask("call", "claim", key(5000), 8) == 7


def test_a_service_that_another_program_wrote_is_no_service(
    opened: Callable[..., State], path: Path, service: Service, entry: Entry
) -> None:
    state = opened(URL)
    state.swap(None, service, entry)
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE services SET document = '{"name": "chat"}'""")
    connection.close()
    with pytest.raises(StateCorrupt, match="cannot be read: since"):
        state.load()


# places -------------------------------------------------------------------------------------------
def test_a_directory_is_refused(opened: Callable[..., State], path: Path) -> None:
    path.mkdir()
    with pytest.raises(StateRefused, match="is a directory"):
        opened(URL)


def test_a_missing_directory_is_refused(opened: Callable[..., State]) -> None:
    with pytest.raises(StateRefused, match="create it"):
        opened("sqlite:///no/such/coalmine.db")


def test_another_programs_database_is_refused_and_left(
    opened: Callable[..., State], path: Path
) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs(x)")
    connection.close()
    with pytest.raises(StateRefused, match="another program's"):
        opened(URL)


def test_a_database_of_another_version_is_refused(
    opened: Callable[..., State], path: Path
) -> None:
    opened(URL).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StateRefused, match="has version 99"):
        opened(URL)


def test_a_file_of_another_user_is_refused(
    opened: Callable[..., State], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(URL).close()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StateRefused, match="but this process runs as user 12345"):
        opened(URL)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 6 MB."""
    if not ROOT:
        pytest.skip("only root can mount a disk; test_…_file_cannot_grow stands in for it")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount a disk; test_…_file_cannot_grow stands in")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_mounted_read_only_is_refused(
    opened: Callable[..., State], small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StateRefused, match="cannot be written by user"):
        opened("sqlite:///disk/coalmine.db")


if not ROOT:  # root may write everywhere; for root the mounted disk above stands in for it

    def test_a_directory_without_the_right_to_write_is_refused(
        opened: Callable[..., State], tmp_path: Path
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        with pytest.raises(StateRefused, match="cannot be written by user"):
            opened("sqlite:///closed/coalmine.db")


MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/export /srv nfs4 rw 0 0
tmpfs /srv/local tmpfs rw 0 0
/dev/vdb /srv/over\\040there xfs rw 0 0
/dev/vdc /srv/local ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"), ("/var/lib", "ext4"), ("/srv", "nfs4"), ("/srv/deep/er", "nfs4"),
        ("/srvx", "ext4"), ("/srv/local/x", "ext4"), ("/srv/over there", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(directory: str, kind: str) -> None:
    assert file_system(Path(directory), MOUNTS) == kind


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coalmine.state.sqlite_place.file_system", lambda directory: "nfs4")
    with pytest.raises(StateRefused, match=r"network file system \(nfs4\)"):
        check_place(tmp_path / "coalmine.db")


def test_nobody_else_can_read_what_is_kept(opened: Callable[..., State], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = opened(URL)
        state.salt()
        state.claim(key(1), 1)
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


# full disks ---------------------------------------------------------------------------------------
def _changes_succeed(call: Callable[..., Any], service: Service, entry: Entry) -> None:
    for epoch in range(1, 201):
        before = service.model_copy(update={"epoch": epoch})
        after = service.model_copy(update={"epoch": epoch + 1})
        assert call("swap", before, after, entry)
        assert call("lease", "w1", 5.0)


def test_on_a_full_disk_pins_fail_and_200_changes_of_the_state_succeed(
    opened: Callable[..., State], small_disk: Path, service: Service, entry: Entry
) -> None:
    state = opened("sqlite:///disk/coalmine.db")
    state.swap(None, service, entry)
    full = (small_disk / "filler").open("wb", buffering=0)
    with full, pytest.raises(OSError, match="No space left"):
        while True:
            full.write(b"\0" * 4096)
    with pytest.raises(StateUnreachable, match="the disk is full"):
        for number in range(100_000):
            state.claim(key(number), 1)
    _changes_succeed(lambda method, *args: getattr(state, method)(*args), service, entry)
    assert state.load()["chat"].epoch == 201
    (small_disk / "filler").unlink()
    assert state.claim(key(200_000), 1) is None


def test_where_no_file_can_grow_pins_fail_and_200_changes_of_the_state_succeed(
    opened: Callable[..., State], mortal_peer: Any, service: Service, entry: Entry
) -> None:
    opened(URL).swap(None, service, entry)
    mortal_peer.ask("call", "load")
    # Just above what the state holds in reserve.
    mortal_peer.ask("limit_file_size", 1_200_000)
    with pytest.raises(StateUnreachable, match="pins"):
        mortal_peer.ask(
            "calls", 0.0, [("claim", (key(number), 1)) for number in range(100_000)]
        )
    _changes_succeed(
        lambda method, *args: mortal_peer.ask("call", method, *args), service, entry
    )


# files that vanish --------------------------------------------------------------------------------
def test_a_deleted_state_is_out_of_reach_until_it_is_back(
    opened: Callable[..., State], path: Path, service: Service, entry: Entry
) -> None:
    state = opened(URL)
    state.swap(None, service, entry)
    aside = path.with_name("aside")
    path.rename(aside)
    for call in (state.load, lambda: state.swap(None, service, entry), lambda: state.lease("a", 1)):
        with pytest.raises(StateUnreachable, match="is gone"):
            call()
    assert not path.exists()
    aside.rename(path)
    assert state.load() == {"chat": service}


def test_a_state_that_was_replaced_is_read_anew_and_can_be_reseeded(
    opened: Callable[..., State], path: Path, tmp_path: Path, service: Service, entry: Entry,
    at: Callable[..., Service], unopened_peers: list[Any],
) -> None:
    state = opened(URL)
    state.swap(None, service, entry)
    state.close()
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    state = opened(URL)
    state.swap(service, at(service, 2), entry)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    backup.rename(path)
    assert state.load()["chat"].epoch == 1
    assert state.reseed(at(service, 2), entry)
    other = unopened_peers[0]
    other.ask("open", URL, tmp_path)
    assert other.ask("call", "load")["chat"].epoch == 2


@pytest.mark.parametrize("name", ["pins", "figures"])
def test_deleted_pins_or_figures_are_begun_anew_for_all(
    opened: Callable[..., State], path: Path, tmp_path: Path, unopened_peers: list[Any], name: str
) -> None:
    state = opened(URL)
    other = unopened_peers[0]
    other.ask("open", URL, tmp_path)
    state.claim(key(1), 1)
    state.ship(Batch("w1", "g1", 1))
    for each in tmp_path.glob(f"coalmine.db.{name}*"):
        each.unlink()
    state.claim(key(2), 2)
    state.ship(Batch("w1", "g1", 2))
    assert other.ask("call", "claim", key(2), 3) == 2
    assert [batch.number for batch in other.ask("call", "batches", "")[1]][-1] == 2


def test_an_event_loop_does_not_open_deleted_pins(
    opened: Callable[..., State], tmp_path: Path
) -> None:
    """Another process may hold the lock for that, and the loop would wait with all its requests."""
    state = opened(URL)
    state.claim(key(1), 1)
    for each in tmp_path.glob("coalmine.db.pins*"):
        each.unlink()
    with pytest.raises(StateBusy, match="was replaced"):
        state.claim(key(2), 2, wait=False)
    assert state.claim(key(2), 2) is None
    assert state.claim(key(2), 3, wait=False) == 2


def test_a_generation_that_was_deleted_is_shared_again_after_the_next_load(
    opened: Callable[..., State], path: Path, tmp_path: Path, unopened_peers: list[Any],
    service: Service, entry: Entry,
) -> None:
    state = opened(URL)
    other = unopened_peers[0]
    other.ask("open", URL, tmp_path)
    path.with_name("coalmine.db.generation").unlink()
    state.load()
    other.ask("call", "load")
    before = state.generation()
    other.ask("call", "swap", None, service, entry)
    assert state.generation() != before


# several processes --------------------------------------------------------------------------------
def test_many_processes_may_open_a_new_state_at_once(
    unopened_peers: list[Any], tmp_path: Path
) -> None:
    for attempt in range(20):
        for peer in unopened_peers:
            peer.send("open", f"sqlite:///{attempt}.db", tmp_path)
        for peer in unopened_peers:
            peer.receive()
        salts = {peer.ask("call", "salt") for peer in unopened_peers}
        assert len(salts) == 1
        for peer in unopened_peers:
            peer.send("close")
        for peer in unopened_peers:
            peer.receive()


def test_one_process_after_the_other_may_open_and_close_while_others_write(
    opened: Callable[..., State], unopened_peers: list[Any], tmp_path: Path
) -> None:
    """Nothing is lost by it: whoever comes next finds what was claimed meanwhile."""
    state = opened(URL)
    for attempt in range(20):
        peer = unopened_peers[attempt % 4]
        peer.send("open", URL, tmp_path)
        claimed = [key(attempt * 100 + number) for number in range(20)]
        assert {state.claim(each, 1) for each in claimed} == {None}
        peer.receive()
        assert {peer.ask("call", "claim", each, 2) for each in claimed} == {1}
        peer.ask("close")


def test_the_generation_of_another_process_is_seen_at_once_and_without_a_call(
    opened: Callable[..., State], unopened_peers: list[Any], tmp_path: Path, service: Service,
    entry: Entry,
) -> None:
    state = opened(URL)
    other = unopened_peers[0]
    other.ask("open", URL, tmp_path)
    before = other.ask("call", "generation")
    other.send("generations", before, 5.0)
    state.swap(None, service, entry)
    assert other.receive() == state.generation() != before


def test_a_lock_that_is_held_costs_one_deadline(opened: Callable[..., State], path: Path) -> None:
    state = opened(URL, deadline=0.2)
    holder = sqlite3.connect(path.with_name("coalmine.db.pins"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StateUnreachable, match="locked by another process"):
        state.claim(key(1), 1)
    assert 0.15 < time.monotonic() - begun < 1.0
    begun = time.monotonic()
    with pytest.raises(StateBusy):
        state.claim(key(1), 1, wait=False)
    assert time.monotonic() - begun < 0.15
    assert state.resolve([key(1)]) is None
    holder.close()
    assert state.claim(key(1), 1) is None


def test_a_state_is_refused_in_a_child_that_was_forked_with_it_open(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from coalmine.state import StateError, open_state

def say(act):
    try:
        act()
    except StateError as error:
        return type(error).__name__
    return "done"

base = Path(sys.argv[1])
state = open_state("sqlite:///coalmine.db", base=base)
if os.fork() == 0:
    told = [say(state.load), say(lambda: open_state("sqlite:///coalmine.db", base=base))]
    print(*told, flush=True)
    os._exit(0)
os.wait()
state.close()
if os.fork() == 0:
    print(say(lambda: open_state("sqlite:///coalmine.db", base=base).close()), flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True,
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugin")},
    )
    assert done.stdout.split() == ["StateRefused", "StateRefused", "done"]


# bells --------------------------------------------------------------------------------------------
@pytest.fixture
def bells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own temporary directory for the bells, short enough for a socket's path."""
    directory = tmp_path / "t"
    directory.mkdir()
    monkeypatch.setattr("coalmine.state.sqlite_bell.LONGEST_PATH", 1000)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(directory))
    return directory


def test_the_sockets_lie_in_a_directory_that_only_we_may_enter(
    opened: Callable[..., State], bells: Path
) -> None:
    bell = opened(URL).bell("w1")
    (directory,) = bells.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert directory.name.startswith(f"coalmine-{os.geteuid()}-")
    assert len(list(directory.iterdir())) == 1
    bell.close()
    assert not directory.exists()


def test_the_socket_of_a_process_that_was_killed_is_removed(
    opened: Callable[..., State], mortal_peer: Any, service: Service, entry: Entry
) -> None:
    from coalmine.state.sqlite_bell import bell_directory

    state = opened(URL)
    mortal_peer.ask("arm", "w1")
    directory = bell_directory(state.path)  # type: ignore[attr-defined]
    assert len(list(directory.iterdir())) == 1
    mortal_peer.end()
    state.swap(None, service, entry)
    assert list(directory.iterdir()) == []
    directory.rmdir()


def test_a_directory_that_others_may_enter_is_not_used_but_the_bell_still_rings(
    opened: Callable[..., State], bells: Path, service: Service, entry: Entry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = opened(URL)
    first = state.bell("w1")
    (directory,) = bells.iterdir()
    first.close()
    directory.mkdir()
    directory.chmod(0o755)
    bell = state.bell("w1")
    assert "it is not private" in caplog.text
    assert list(directory.iterdir()) == []
    state.swap(None, service, entry)
    assert bell.wait(2.0)
    assert not bell.wait(0.05)
    bell.close()


def test_a_bell_whose_socket_was_cleaned_away_listens_again(
    opened: Callable[..., State], bells: Path, service: Service, entry: Entry,
    at: Callable[..., Service],
) -> None:
    state = opened(URL)
    bell = state.bell("w1")
    shutil.rmtree(next(bells.iterdir()))
    state.swap(None, service, entry)
    assert bell.wait(0.05), "the generation tells it"
    assert not bell.wait(0.05)
    state.swap(service, at(service, 2), entry)
    begun = time.monotonic()
    assert bell.wait(5.0)
    assert time.monotonic() - begun < 2.0
    bell.close()


# nothing grows ------------------------------------------------------------------------------------
def test_the_pins_take_no_more_room_after_many_lives(
    opened: Callable[..., State], path: Path, until: Callable[..., Any]
) -> None:
    state = opened(URL, pin_ttl=0.15)
    pins = path.with_name("coalmine.db.pins")
    sizes: list[int] = []
    number = 0
    for _ in range(6):
        first = number
        for number in range(first + 1, first + 3001):
            state.claim(key(number), 1)
        looks = iter(range(first + 1, number))
        until(lambda looks=looks: state.resolve([key(next(looks))]) is None)
        sizes.append(pins.stat().st_size)
    assert max(sizes[3:]) <= 3 * 3000 * 61
    with sqlite3.connect(pins) as connection:
        held = connection.execute(
            "SELECT (SELECT count(*) FROM pins) + (SELECT count(*) FROM pins_before)"
        ).fetchone()[0]
    connection.close()
    assert held <= 6000


def test_the_pins_wal_is_cut_when_it_has_grown(
    opened: Callable[..., State], path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coalmine.state.sqlite_pins.WAL_BYTES", 100_000)
    state = opened(URL)
    for number in range(500):
        state.claim(key(number), 1)
    wal = path.with_name("coalmine.db.pins-wal")
    until(lambda: wal.stat().st_size <= 100_000)
    assert state.resolve([key(499)]) == (key(499), 1)


def test_old_batches_are_pruned(
    opened: Callable[..., State], until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coalmine.state.sqlite_figures.BATCHES_KEPT", 0.2)
    monkeypatch.setattr("coalmine.state.sqlite.PRUNE", 0.05)
    state = opened(URL)
    for number in range(1, 1201):
        state.ship(Batch("w1", "g1", number, (), {"n": 1}))
    until(lambda: state.batches("") == ("", []))
    assert state.totals("g1") == {"n": 1200}


# closing ------------------------------------------------------------------------------------------
def test_calls_after_closing_say_that_it_is_closed(opened: Callable[..., State]) -> None:
    state = opened(URL)
    before = state.generation()
    state.close()
    with pytest.raises(StateUnreachable, match="was closed"):
        state.load()
    assert state.generation() == before
    state.close()
