"""Pins, aliases and moves, in each store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from coalmine.state import State, StateBusy

KEY, ALIAS, OTHER = b"\x00key\xff\n\r\x01", b"12345678", b"00000000"


def test_a_claim_sets_the_pin_and_later_ones_are_told_of_it(state: State) -> None:
    assert state.claim(KEY, 0) is None
    assert state.claim(KEY, 9999) == 0
    assert state.claim(OTHER, 9999) is None
    assert state.claim(OTHER, 1) == 9999


def test_exactly_one_of_many_processes_wins_each_claim(
    state: State, peers: list[Any], race: Callable[..., list[list[int | None]]]
) -> None:
    keys = [number.to_bytes(8, "big") for number in range(300)]
    answers = race(
        peers, [[("claim", (key, 100 + i)) for key in keys] for i in range(len(peers))]
    )
    for key, told in zip(keys, zip(*answers, strict=True), strict=True):
        assert told.count(None) == 1
        winner = 100 + told.index(None)
        assert {code for code in told if code is not None} == {winner}
        assert state.resolve([key]) == (key, winner)


def test_exactly_one_of_many_threads_wins_a_claim(state: State) -> None:
    told: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: told.append(state.claim(KEY, 7))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(None) == 1
    assert told.count(7) == 49


def test_a_claim_that_must_not_wait_is_made_at_once_or_certainly_not(state: State) -> None:
    try:
        assert state.claim(KEY, 1, wait=False) is None
        assert state.resolve([KEY], wait=False) == (KEY, 1)
    except StateBusy:
        assert state.shared
        assert state.claim(KEY, 2) is None


# resolve and bind ---------------------------------------------------------------------------------
def test_nothing_is_found_where_nothing_was_put(state: State) -> None:
    assert state.resolve([]) is None
    assert state.resolve([KEY, ALIAS]) is None


def test_the_first_alias_that_has_a_pin_counts(state: State) -> None:
    state.claim(KEY, 1)
    state.claim(OTHER, 2)
    assert state.resolve([ALIAS, OTHER, KEY]) == (OTHER, 2)


def test_an_alias_leads_to_the_key_that_it_was_bound_to(state: State) -> None:
    state.bind(KEY, 5, [ALIAS, OTHER])
    assert state.resolve([KEY]) == (KEY, 5)
    assert state.resolve([ALIAS]) == (KEY, 5)
    assert state.resolve([OTHER]) == (KEY, 5)


def test_binding_leaves_a_pin_that_is_there(state: State) -> None:
    state.claim(KEY, 1)
    state.bind(KEY, 2, [ALIAS])
    assert state.resolve([ALIAS]) == (KEY, 1)


def test_an_alias_that_leads_elsewhere_is_left(state: State) -> None:
    state.bind(KEY, 1, [ALIAS])
    state.bind(OTHER, 2, [ALIAS])
    assert state.resolve([ALIAS]) == (KEY, 1)
    assert state.resolve([OTHER]) == (OTHER, 2)


def test_an_alias_that_is_itself_a_pinned_key_is_left(state: State) -> None:
    state.claim(ALIAS, 3)
    state.bind(KEY, 1, [ALIAS])
    assert state.resolve([ALIAS]) == (ALIAS, 3)


def test_a_key_among_its_own_aliases_stays_a_key(state: State) -> None:
    state.bind(KEY, 1, [KEY, ALIAS, ALIAS])
    assert state.resolve([KEY]) == (KEY, 1)
    assert state.resolve([ALIAS]) == (KEY, 1)


def test_binding_an_alias_binds_what_it_leads_to(state: State) -> None:
    state.bind(KEY, 1, [ALIAS])
    state.bind(ALIAS, 2, [OTHER])
    assert state.resolve([OTHER]) == (KEY, 1)


def test_a_claim_of_an_alias_is_told_the_pin_it_leads_to(state: State) -> None:
    state.bind(KEY, 4, [ALIAS])
    assert state.claim(ALIAS, 9) == 4


def test_an_alias_follows_a_pin_that_is_moved(state: State) -> None:
    state.bind(KEY, 1, [ALIAS])
    assert state.move(KEY, 1, 2)
    assert state.resolve([ALIAS]) == (KEY, 2)


# moves --------------------------------------------------------------------------------------------
def test_a_pin_is_moved_from_the_expected_code_only(state: State) -> None:
    assert not state.move(KEY, 1, 2)
    state.claim(KEY, 1)
    assert not state.move(KEY, 5, 2)
    assert state.move(KEY, 1, 2)
    assert not state.move(KEY, 1, 2)
    assert state.resolve([KEY]) == (KEY, 2)


def test_of_many_processes_exactly_one_moves_a_pin(
    state: State, peers: list[Any], race: Callable[..., list[list[bool]]]
) -> None:
    keys = [number.to_bytes(8, "big") for number in range(50)]
    for key in keys:
        state.claim(key, 1)
    answers = race(peers, [[("move", (key, 1, 2 + i)) for key in keys] for i in range(len(peers))])
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * len(keys)
    _, moved = state.moved_since(0) or (0, [])
    assert sorted(moved) == keys


def test_moves_are_told_once_after_the_cursor(state: State) -> None:
    state.claim(KEY, 1)
    state.claim(OTHER, 1)
    state.move(OTHER, 1, 2)
    cursor, moved = state.moved_since(-1) or (None, None)
    assert moved == []
    assert state.moved_since(cursor) == (cursor, [])
    state.move(KEY, 1, 2)
    state.move(OTHER, 2, 3)
    newer, moved = state.moved_since(cursor) or (None, None)
    assert moved == [KEY, OTHER]
    assert newer > cursor
    assert state.moved_since(newer) == (newer, [])


def test_a_cursor_from_before_any_move_is_good(state: State) -> None:
    cursor, moved = state.moved_since(-1) or (None, None)
    assert moved == []
    assert state.moved_since(cursor) == (cursor, [])
    state.claim(KEY, 1)
    state.move(KEY, 1, 2)
    assert (state.moved_since(cursor) or (0, []))[1] == [KEY]


def test_a_cursor_from_a_lost_state_means_forget_all(state: State) -> None:
    assert state.moved_since(1_800_000_000_000_000) is None
    state.claim(KEY, 1)
    state.move(KEY, 1, 2)
    assert state.moved_since(4_000_000_000_000_000) is None


def test_after_too_many_moves_one_is_told_to_forget_all(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coalmine.state.sqlite_pins.MOVES_KEPT", 20)
    if state.shared:
        monkeypatch.setattr("coalmine.state.redis_store.MOVES_KEPT", 20)
    state.claim(KEY, 0)
    state.move(KEY, 0, 1)
    early, _ = state.moved_since(-1) or (0, [])
    for code in range(1, 11):
        state.move(KEY, code, code + 1)
    middle, moved = state.moved_since(early) or (0, [])
    assert len(moved) == 10
    for code in range(11, 26):
        state.move(KEY, code, code + 1)
    assert state.moved_since(early) is None
    assert len((state.moved_since(middle) or (0, []))[1]) == 15


# ttl ----------------------------------------------------------------------------------------------
def test_a_pin_that_nobody_looks_at_expires(
    opened: Callable[..., State], url: str, until: Callable[..., Any]
) -> None:
    state = opened(url, pin_ttl=0.2)
    # Looking at one keeps it, so each look is at another one.
    keys = iter([number.to_bytes(8, "big") for number in range(1000)])
    every = [number.to_bytes(8, "big") for number in range(1000)]
    for key in every:
        assert state.claim(key, 1) is None
    until(lambda: state.resolve([next(keys)]) is None)
    assert state.claim(every[-1], 2) in (None, 1)
    assert state.claim(KEY, 2) is None


def test_a_pin_that_is_looked_at_stays(
    opened: Callable[..., State], url: str, until: Callable[..., Any]
) -> None:
    state = opened(url, pin_ttl=0.5)
    others: list[bytes] = []
    looked = 0.0

    def outlives_another() -> bool:
        nonlocal looked
        late, looked = time.monotonic() - looked > 0.25, time.monotonic()
        if late or not others:  # at the beginning, and where the machine stood still
            others[:] = [number.to_bytes(8, "big") for number in range(400)]
            for key in others:
                state.claim(key, 1)
            state.bind(KEY, 1, [ALIAS])
            looked = time.monotonic()
            return False
        assert state.resolve([ALIAS]) == (KEY, 1)
        return state.resolve([others.pop()]) is None

    until(outlives_another)
    assert state.resolve([ALIAS]) == (KEY, 1)


def test_an_alias_whose_pin_is_gone_is_free_again(
    opened: Callable[..., State], url: str, until: Callable[..., Any]
) -> None:
    brief = opened(url, pin_ttl=0.2)
    keys = [number.to_bytes(8, "big") for number in range(1000)]
    for key in keys:
        brief.claim(key, 1)
    looks = iter(keys)
    until(lambda: brief.resolve([next(looks)]) is None)
    gone = keys[999]
    brief.bind(gone, 3, [ALIAS])
    assert brief.resolve([ALIAS]) in ((gone, 3), (gone, 1))
