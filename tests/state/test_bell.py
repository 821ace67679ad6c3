"""Bells, in each store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from coalmine.rollout.service import Service
from coalmine.state import Batch, Bell, Entry, State

SOON = 2.0


@pytest.fixture
def bell(state: State) -> Iterator[Bell]:
    """A bell that hears."""
    bell = state.bell("w1")
    while bell.wait(0.05):
        pass
    yield bell
    bell.close()


def test_a_bell_rings_when_a_service_has_changed(
    state: State, bell: Bell, service: Service, entry: Entry
) -> None:
    state.swap(None, service, entry)
    assert bell.wait(SOON)
    assert not bell.wait(0.01)


def test_a_bell_rings_when_a_service_was_reseeded(
    state: State, bell: Bell, service: Service, entry: Entry
) -> None:
    state.reseed(service, entry)
    assert bell.wait(SOON)


def test_a_bell_rings_for_an_urgent_batch_only(state: State, bell: Bell) -> None:
    batch = Batch("w1", "g1", 1)
    state.ship(batch)
    state.append(Entry(1.0, "chat", "ada", "warning", "no change"))
    state.claim(b"12345678", 1)
    assert not bell.wait(0.05)
    state.ship(replace(batch, number=2), urgent=True)
    assert bell.wait(SOON)


def test_a_change_that_was_refused_rings_nothing(
    state: State, bell: Bell, service: Service, entry: Entry
) -> None:
    assert not state.swap(service, service, entry)
    assert not bell.wait(0.05)


def test_several_changes_may_ring_once_but_the_last_one_is_heard(
    state: State, bell: Bell, service: Service, entry: Entry, at: Callable[..., Service]
) -> None:
    state.swap(None, service, entry)
    for epoch in range(1, 200):
        state.swap(at(service, epoch), at(service, epoch + 1), entry)
    heard = 0
    while bell.wait(0.1):
        heard = state.load()["chat"].epoch
    assert heard == 200


def test_a_change_is_heard_in_all_other_processes(
    state: State, peers: list[Any], service: Service, entry: Entry
) -> None:
    for i, peer in enumerate(peers):
        peer.ask("arm", f"w{i}")
        peer.send("follow", "chat", 1, 5.0)
    begun = time.monotonic()
    state.swap(None, service, entry)
    assert max(peer.receive() for peer in peers) - begun < SOON


def test_the_generation_is_seen_in_other_processes_that_listen(
    state: State, peers: list[Any], service: Service, entry: Entry
) -> None:
    before = peers[0].ask("call", "generation")
    peers[0].ask("arm", "w0")
    before = peers[0].ask("call", "generation")
    state.swap(None, service, entry)
    rang, _ = peers[0].ask("wait", SOON)
    assert rang
    assert peers[0].ask("call", "generation") != before


def test_what_no_bell_told_is_seen_by_loading(
    state: State, peers: list[Any], service: Service, entry: Entry
) -> None:
    assert peers[0].ask("call", "load") == {}
    state.swap(None, service, entry)
    assert peers[0].ask("call", "load") == {"chat": service}


def test_a_wait_without_a_ring_ends_at_its_time(bell: Bell) -> None:
    begun = time.monotonic()
    assert not bell.wait(0.1)
    assert 0.09 < time.monotonic() - begun < SOON


def test_closing_a_bell_ends_the_wait_for_it(bell: Bell, until: Callable[..., Any]) -> None:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(bell.wait(30)))
    thread.start()
    until(thread.is_alive)
    bell.close()
    thread.join(SOON)
    assert answers == [False]
    assert not bell.wait(30)
