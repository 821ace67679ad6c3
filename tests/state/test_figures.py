"""Batches, totals, published documents, beats and the lease, in each store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coalmine.state import Batch, Beat, State, StateRefused

BATCH = Batch(
    worker="w1", gateway="g1", number=1, attempts=(["ok", 0.25, None], {"outcome": "error"}),
    totals={"attempts{outcome=ok}": 1, "seconds": 0.25},
)


# batches ------------------------------------------------------------------------------------------
def test_a_batch_is_read_as_it_was_shipped(state: State) -> None:
    state.ship(BATCH)
    _, found = state.batches("")
    assert found == [BATCH]


def test_a_batch_that_is_shipped_again_counts_once(state: State) -> None:
    for _ in range(3):
        state.ship(BATCH)
    state.ship(replace(BATCH, number=2))
    state.ship(BATCH)
    assert [batch.number for batch in state.batches("")[1]] == [1, 2]
    assert state.totals("g1") == {"attempts{outcome=ok}": 2, "seconds": 0.5}


def test_batches_are_read_on_from_the_cursor(state: State) -> None:
    cursor, found = state.batches("")
    assert (cursor, found) == ("", [])
    for number in range(1, 8):
        state.ship(replace(BATCH, number=number))
    read: list[int] = []
    while True:
        cursor, found = state.batches(cursor, 3)
        assert len(found) <= 3
        if not found:
            break
        read += [batch.number for batch in found]
    assert read == list(range(1, 8))
    state.ship(replace(BATCH, number=8))
    assert [batch.number for batch in state.batches(cursor)[1]] == [8]


def test_a_cursor_of_something_else_is_refused(state: State) -> None:
    with pytest.raises(StateRefused, match="cursor"):
        state.batches("yesterday")


def test_many_processes_ship_everything_once(
    state: State, peers: list[Any], race: Callable[..., list[list[None]]]
) -> None:
    shipped = [
        [("ship", (Batch(f"w{i}", f"g{i % 2}", n, (n,), {"n": 1, "sum": float(n)}),))
         for n in range(1, 51) for _ in range(2)]
        for i in range(len(peers))
    ]
    race(peers, shipped)
    assert state.totals("g0") == state.totals("g1") == {"n": 100, "sum": 2 * 51 * 25}
    cursor, found = state.batches("", 1000)
    assert len(found) == 200
    for i in range(len(peers)):
        assert [batch.number for batch in found if batch.worker == f"w{i}"] == list(range(1, 51))
    assert state.batches(cursor) == (cursor, [])


# totals and documents -----------------------------------------------------------------------------
def test_a_gateway_that_has_shipped_nothing_has_no_totals(state: State) -> None:
    assert state.totals("g1") == {}


def test_totals_are_exact_also_when_they_are_large_or_fractions(state: State) -> None:
    for number in range(1, 101):
        state.ship(replace(BATCH, number=number, totals={"big": 2.0**40, "half": 0.5, "t": 0.1}))
    totals = state.totals("g1")
    assert totals["big"] == 100 * 2.0**40
    assert totals["half"] == 50
    assert totals["t"] == pytest.approx(10, rel=1e-12)


def test_the_last_document_published_under_a_name_stays(state: State) -> None:
    assert state.published("chat") is None
    state.publish("chat", {"arms": {"stable": 1}})
    state.publish("chat", {"arms": {"stable": 2}, "why": "ü"})
    assert state.published("chat") == {"arms": {"stable": 2}, "why": "ü"}
    assert state.published("other") is None


# workers ------------------------------------------------------------------------------------------
def test_a_worker_is_seen_with_its_last_beat(state: State) -> None:
    assert state.workers() == []
    state.beat(Beat("w2", "g1", {"chat": 3}, {"chat/v1": 2}))
    state.beat(Beat("w1", "g1", {"chat": 3}))
    state.beat(Beat("w2", "g1", {"chat": 4}, {"chat/v1": 1}))
    found = state.workers()
    assert [replace(beat, seen=0) for beat in found] == [
        Beat("w1", "g1", {"chat": 3}), Beat("w2", "g1", {"chat": 4}, {"chat/v1": 1}),
    ]
    assert all(0 <= beat.seen < 5 for beat in found)


def test_a_worker_that_has_ended_is_no_longer_seen(state: State) -> None:
    state.beat(Beat("w1", "g1"))
    state.beat(Beat("w2", "g1"))
    state.gone("w1")
    assert [beat.worker for beat in state.workers()] == ["w2"]
    state.gone("nobody")
    assert [beat.worker for beat in state.workers()] == ["w2"]


def test_a_silent_worker_is_no_longer_seen(state: State, until: Callable[..., Any]) -> None:
    state.beat(Beat("w1", "g1"))
    until(lambda: state.workers(within=0.1) == [])
    (beat,) = state.workers(within=60)
    assert beat.seen >= 0.1


def test_workers_of_other_processes_are_seen(state: State, peers: list[Any]) -> None:
    for i, peer in enumerate(peers):
        peer.ask("call", "beat", Beat(f"w{i}", "g1"))
    assert [beat.worker for beat in state.workers()] == ["w0", "w1", "w2", "w3"]


# lease --------------------------------------------------------------------------------------------
def test_one_holds_the_lease_and_renews_it(state: State) -> None:
    assert state.lease("a", 60)
    assert not state.lease("b", 60)
    assert state.lease("a", 60)


def test_a_lease_that_is_given_back_is_free(state: State) -> None:
    state.unlease("a")
    assert state.lease("a", 60)
    state.unlease("b")
    assert not state.lease("b", 60)
    state.unlease("a")
    assert state.lease("b", 60)


def test_a_lease_that_was_not_renewed_is_taken_over(
    state: State, peers: list[Any], until: Callable[..., Any]
) -> None:
    assert peers[0].ask("call", "lease", "a", 0.5)
    begun = time.monotonic()
    assert not state.lease("b", 0.5)
    until(lambda: state.lease("b", 0.5))
    assert 0.3 < time.monotonic() - begun < 2.0
    assert not peers[0].ask("call", "lease", "a", 0.5)


def test_exactly_one_of_many_processes_takes_the_lease(
    state: State, peers: list[Any], race: Callable[..., list[list[bool]]]
) -> None:
    answers = race(peers, [[("lease", (f"w{i}", 60.0))] for i in range(len(peers))])
    assert sum(taken for (taken,) in answers) == 1
