"""Services, their log and the salt, in each store."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coalmine.rollout.service import Service
from coalmine.routing import Phase
from coalmine.state import Entry, State

At = Callable[..., Service]


def test_an_empty_state_holds_no_service(state: State) -> None:
    assert state.load() == {}


def test_a_service_is_read_as_it_was_put_there(
    state: State, service: Service, entry: Entry
) -> None:
    assert state.swap(None, service, entry)
    assert state.load() == {"chat": service}


def test_services_are_kept_apart_by_name(state: State, service: Service, entry: Entry) -> None:
    other = service.model_copy(update={"name": "chat: übersetzen / 翻訳"})
    assert state.swap(None, service, entry)
    assert state.swap(None, other, replace(entry, service=other.name))
    assert state.load() == {"chat": service, other.name: other}
    assert [each.service for each in state.history(other.name)] == [other.name]


def test_a_service_is_put_there_for_the_first_time_once(
    state: State, service: Service, entry: Entry
) -> None:
    assert state.swap(None, service, entry)
    assert not state.swap(None, service, entry)


def test_a_swap_from_a_past_epoch_does_nothing(
    state: State, service: Service, entry: Entry, at: At
) -> None:
    state.swap(None, service, entry)
    assert state.swap(service, at(service, 2, Phase.CANARY), entry)
    generation = state.generation()
    assert not state.swap(service, at(service, 2, Phase.PAUSED), replace(entry, action="late"))
    assert state.load()["chat"].phase is Phase.CANARY
    assert [each.action for each in state.history("chat")] == ["start", "start"]
    assert state.generation() == generation


def test_a_swap_of_a_service_that_is_missing_does_nothing(
    state: State, service: Service, entry: Entry, at: At
) -> None:
    assert not state.swap(service, at(service, 2), entry)
    assert state.load() == {}
    assert state.history("chat") == []


def test_of_many_processes_exactly_one_wins_each_epoch(
    state: State, service: Service, entry: Entry, at: At, peers: list[Any],
    race: Callable[..., list[list[bool]]],
) -> None:
    epochs = 25
    state.swap(None, service, entry)
    calls = [
        [("swap", (at(service, n), at(service, n + 1), replace(entry, who=f"worker {i}")))
         for n in range(1, epochs + 1)]
        for i in range(len(peers))
    ]
    answers = race(peers, calls)
    won = [sum(each) for each in zip(*answers, strict=True)]
    # Who is ahead may find that nobody has made the epoch yet on which it builds: then nobody of
    # them wins it, but never two.
    assert max(won) == 1
    epoch = state.load()["chat"].epoch
    assert epoch == 1 + sum(won)
    assert len(state.history("chat")) == epoch


def test_many_threads_make_as_many_changes_as_they_are_told(
    state: State, service: Service, entry: Entry, at: At
) -> None:
    state.swap(None, service, entry)
    won: list[int] = []

    def climb() -> None:
        for _ in range(20):
            held = state.load()["chat"]
            if state.swap(held, at(held, held.epoch + 1), entry):
                won.append(held.epoch)

    threads = [threading.Thread(target=climb) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, len(won) + 1))
    assert state.load()["chat"].epoch == len(won) + 1


def test_the_generation_changes_with_each_change_of_a_service(
    state: State, service: Service, entry: Entry, at: At
) -> None:
    seen = [state.generation()]
    state.swap(None, service, entry)
    seen.append(state.generation())
    state.swap(service, at(service, 2), entry)
    seen.append(state.generation())
    state.reseed(at(service, 3), entry)
    seen.append(state.generation())
    assert len(set(seen)) == len(seen)


def test_loading_shows_the_generation_that_another_process_made(
    state: State, service: Service, entry: Entry, peers: list[Any]
) -> None:
    before = state.generation()
    assert peers[0].ask("call", "swap", None, service, entry)
    state.load()
    assert state.generation() != before


def test_reading_the_generation_costs_less_than_a_microsecond(state: State) -> None:
    begun = time.process_time()
    for _ in range(100_000):
        state.generation()
    assert (time.process_time() - begun) / 100_000 < 1e-6


# reseed -------------------------------------------------------------------------------------------
def test_a_missing_service_is_reseeded(state: State, service: Service, entry: Entry) -> None:
    assert state.reseed(service, entry)
    assert state.load() == {"chat": service}
    assert state.history("chat") == [entry]


@pytest.mark.parametrize(
    ("held", "offered", "taken"),
    [
        pytest.param((4, Phase.CANARY), (5, Phase.CANARY), True, id="a newer epoch replaces it"),
        pytest.param((5, Phase.CANARY), (4, Phase.ROLLED_BACK), False, id="an older one does not"),
        pytest.param((5, Phase.CANARY), (5, Phase.BAKING), False, id="the same one does not"),
        pytest.param((5, Phase.CANARY), (5, Phase.ROLLING_BACK), True, id="a tie: rolling back"),
        pytest.param((5, Phase.BAKING), (5, Phase.ROLLED_BACK), True, id="a tie: rolled back"),
        pytest.param((5, Phase.ROLLING_BACK), (5, Phase.CANARY), False, id="a tie: it is back"),
        pytest.param((5, Phase.ROLLING_BACK), (5, Phase.ROLLED_BACK), False, id="both are back"),
        pytest.param((9, Phase.CANARY), (10, Phase.CANARY), True, id="ten is more than nine"),
    ],
)
def test_reseeding_prefers_the_newer_and_on_a_tie_the_rollback(
    state: State, service: Service, entry: Entry, at: At,
    held: tuple[int, Phase], offered: tuple[int, Phase], taken: bool,
) -> None:
    state.swap(None, at(service, *held), entry)
    assert state.reseed(at(service, *offered), replace(entry, action="reseed")) is taken
    assert state.load()["chat"] == at(service, *(offered if taken else held))
    assert (state.history("chat")[-1].action == "reseed") is taken


# log ----------------------------------------------------------------------------------------------
def test_an_entry_is_read_as_it_was_written(state: State, entry: Entry) -> None:
    state.append(entry)
    assert state.history("chat") == [entry]
    assert state.history("other") == []


def test_the_log_is_read_oldest_first_and_ends_with_the_newest(state: State, entry: Entry) -> None:
    for number in range(30):
        state.append(replace(entry, at=float(number)))
    assert [each.at for each in state.history("chat")] == [float(n) for n in range(30)]
    assert [each.at for each in state.history("chat", 3)] == [27.0, 28.0, 29.0]
    assert state.history("chat", 0) == []


# salt ---------------------------------------------------------------------------------------------
def test_the_salt_is_made_once_for_all_processes(
    state: State, peers: list[Any], race: Callable[..., list[list[bytes]]],
    opened: Callable[..., State], url: str,
) -> None:
    answers = race(peers, [[("salt", ())]] * len(peers))
    salts = {salt for (salt,) in answers}
    assert salts == {state.salt()} == {opened(url).salt()}
    assert len(state.salt()) == 32


def test_a_salt_that_was_lost_comes_back_with_the_service(
    state: State, service: Service, entry: Entry, opened: Callable[..., State], url: str,
    forget_everything: Callable[[], None],
) -> None:
    salt = state.salt()
    forget_everything()
    assert state.reseed(service, entry)
    assert opened(url).salt() == salt


# processes that end -------------------------------------------------------------------------------
def test_a_writer_that_is_killed_leaves_a_usable_state(
    state: State, service: Service, entry: Entry, at: At, mortal_peer: Any,
    until: Callable[..., Any],
) -> None:
    state.swap(None, service, entry)
    mortal_peer.send("forever", "claim")
    until(lambda: state.resolve([(20).to_bytes(8, "big")]))
    mortal_peer.process.send_signal(signal.SIGKILL)
    mortal_peer.process.wait()
    assert state.claim(b"\xff" * 8, 1) is None
    assert state.swap(service, at(service, 2), entry)
    assert state.load()["chat"].epoch == 2
