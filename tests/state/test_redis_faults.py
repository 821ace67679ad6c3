"""Redis hangs, dies, comes back with less: what it costs, and that nothing is done later."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.rollout.service import Service
from coalmine.state import Entry, State, StateError, StateRefused, StateUnreachable

pytestmark = pytest.mark.redis
KEY = b"12345678"
DEADLINE = 0.2


def _answers(call: Callable[[], Any]) -> bool:
    try:
        call()
    except StateUnreachable:
        return False
    return True


@pytest.fixture
def server(start_redis: Callable[..., Any]) -> Any:
    """A Redis that may be hung and killed."""
    return start_redis("--appendonly", "no")


@pytest.fixture
def fragile(opened: Callable[..., State], server: Any) -> State:
    """A state in it, with the deadline of a worker."""
    state = opened(server.url, deadline=DEADLINE)
    state.claim(b"00000000", 1)
    return state


def test_a_hung_redis_costs_one_deadline_and_then_nothing(
    fragile: State, server: Any, until: Callable[..., Any]
) -> None:
    server.signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StateUnreachable, match="does not answer"):
            fragile.claim(KEY, 1)
        assert 0.5 * DEADLINE < time.monotonic() - begun < 3 * DEADLINE
        calls: list[Callable[[], Any]] = [
            lambda: fragile.claim(KEY, 1), fragile.load, lambda: fragile.resolve([KEY]),
            lambda: fragile.lease("w1", 1), fragile.workers,
        ]
        begun = time.monotonic()
        for call in calls * 20:
            with pytest.raises(StateUnreachable):
                call()
        assert time.monotonic() - begun < DEADLINE
    finally:
        server.signal(signal.SIGCONT)
    begun = time.monotonic()
    until(lambda: _answers(fragile.load))
    assert time.monotonic() - begun < 1.0


def test_many_threads_in_a_hung_redis_cost_one_deadline_together(
    fragile: State, server: Any
) -> None:
    took: list[float] = []

    def ask() -> None:
        begun = time.monotonic()
        for _ in range(20):
            _answers(lambda: fragile.resolve([KEY]))
        took.append(time.monotonic() - begun)

    server.signal(signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.signal(signal.SIGCONT)
    assert max(took) < 4 * DEADLINE


def test_what_was_asked_of_a_hung_redis_is_not_done_later(
    opened: Callable[..., State], server: Any, service: Service, entry: Entry,
    until: Callable[..., Any],
) -> None:
    # Each state has a connection and a breaker of its own, so that each act is really sent.
    states = [opened(server.url, deadline=DEADLINE) for _ in range(6)]
    states[0].claim(b"00000000", 1)
    acts: list[Callable[[State], Any]] = [
        lambda state: state.claim(KEY, 1),
        lambda state: state.move(b"00000000", 1, 2),
        lambda state: state.bind(b"11111111", 1, [b"22222222"]),
        lambda state: state.swap(None, service, entry),
        lambda state: state.lease("w1", 60),
        lambda state: state.append(entry),
    ]
    server.signal(signal.SIGSTOP)
    try:
        for state, act in zip(states, acts, strict=True):
            with pytest.raises(StateUnreachable):
                act(state)
    finally:
        server.signal(signal.SIGCONT)
    with server.client() as client:
        # It has come to all of them when it has executed one EVALSHA of each connection.
        until(lambda: client.info("commandstats")["cmdstat_evalsha"]["calls"] >= len(acts))
        assert client.get(b"\xc3" + KEY) is None
        assert client.get(b"\xc300000000") == b"1"
        assert sorted(client.keys("*")) == [b"\xc300000000"]
    until(lambda: _answers(states[0].load))
    assert states[0].claim(KEY, 2) is None
    assert states[0].load() == {}


def test_a_clock_that_was_set_is_followed_by_the_next_call(fragile: State) -> None:
    link = fragile._link  # type: ignore[attr-defined]
    link._offset -= 3600
    with pytest.raises(StateUnreachable, match="too late, and did nothing"):
        fragile.claim(KEY, 1)
    assert fragile.claim(KEY, 2) is None


def test_a_redis_that_restarts_is_found_again_and_bells_ring_once(
    fragile: State, server: Any, until: Callable[..., Any]
) -> None:
    bell = fragile.bell("w1")
    assert bell.wait(2.0)
    assert not bell.wait(0.05)
    server.kill()
    with pytest.raises(StateUnreachable):
        fragile.load()
    assert not bell.wait(0.3)
    server.start()
    until(lambda: _answers(fragile.load))
    assert bell.wait(2.0)
    assert not bell.wait(0.05)
    bell.close()


def test_a_bell_in_a_hung_redis_rings_when_it_is_back(fragile: State, server: Any) -> None:
    bell = fragile.bell("w1")
    assert bell.wait(2.0)
    server.signal(signal.SIGSTOP)
    try:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert not bell.wait(0.5)
    finally:
        server.signal(signal.SIGCONT)
    assert bell.wait(2.0)
    bell.close()


def test_an_old_snapshot_that_came_back_is_reseeded(
    fragile: State, server: Any, service: Service, entry: Entry, at: Callable[..., Service],
    until: Callable[..., Any],
) -> None:
    salt = fragile.salt()
    fragile.swap(None, service, entry)
    with server.client() as client:
        client.save()
    shutil.copy(server.directory / "dump.rdb", server.directory / "old.rdb")
    newest = at(service, 3)
    fragile.swap(service, at(service, 2), entry)
    fragile.swap(at(service, 2), newest, entry)
    seen = fragile.generation()
    server.kill()
    shutil.copy(server.directory / "old.rdb", server.directory / "dump.rdb")
    server.start()
    until(lambda: _answers(fragile.load))
    assert fragile.load()["chat"].epoch == 1
    assert fragile.generation() != seen, "a step back is a change too"
    assert fragile.reseed(newest, entry)
    assert fragile.load() == {"chat": newest}
    assert fragile.salt() == salt


def test_cursors_from_before_an_old_snapshot_lose_nothing_new(
    fragile: State, server: Any, until: Callable[..., Any]
) -> None:
    fragile.claim(KEY, 1)
    fragile.move(KEY, 1, 2)
    cursor, _ = fragile.moved_since(-1) or (0, [])
    server.kill()
    server.start()
    until(lambda: _answers(fragile.load))
    assert fragile.moved_since(cursor) is None
    fragile.claim(KEY, 1)
    fragile.move(KEY, 1, 2)
    assert (fragile.moved_since(cursor) or (0, []))[1] == [KEY]


def test_a_redis_out_of_reach_at_the_start_is_used_when_it_comes(
    opened: Callable[..., State], server: Any, until: Callable[..., Any]
) -> None:
    server.kill()
    begun = time.monotonic()
    state = opened(server.url, deadline=DEADLINE)
    assert time.monotonic() - begun < 1.0
    with pytest.raises(StateUnreachable):
        state.load()
    bell = state.bell("w1")
    assert not bell.wait(0.05)
    server.start()
    until(lambda: _answers(state.load))
    assert bell.wait(2.0)
    bell.close()


def test_a_redis_that_comes_back_evicting_keys_is_refused_until_it_is_set_right(
    fragile: State, server: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coalmine.state.breaker.EVERY_REFUSED", 0.05)
    right = server.options
    server.kill()
    assert not _answers(fragile.load)
    server.options = (*right, "--maxmemory-policy", "allkeys-lru")
    server.start()

    def refused() -> bool:
        try:
            return not _answers(fragile.load)
        except StateRefused:
            return True

    def why() -> str:
        try:
            fragile.load()
        except StateError as error:
            return str(error)
        return ""

    until(lambda: "allkeys-lru" in why())
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
    until(lambda: not refused())


def test_closing_while_redis_hangs_ends_soon(
    opened: Callable[..., State], server: Any
) -> None:
    state = opened(server.url, deadline=DEADLINE)
    server.signal(signal.SIGSTOP)
    try:
        assert not _answers(state.load)
        begun = time.monotonic()
        state.close()
        assert time.monotonic() - begun < 3 * DEADLINE
        with pytest.raises(StateUnreachable, match="was closed"):
            state.load()
    finally:
        server.signal(signal.SIGCONT)
