"""A rollback over all gateways: what each did, and whether stable is proved to serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coalmine.cli import fleet as module
from coalmine.cli.fleet import Fleet, Outcome


@pytest.fixture
def other(gateway: Any) -> Iterator[Any]:
    """A second gateway on the same state."""
    found = type(gateway)()
    found.services = gateway.services
    found.up()
    yield found
    found.done.set()
    found.down()


@pytest.fixture
def both(gateway: Any, other: Any, key: str) -> Fleet:
    """A client of both."""
    return Fleet([gateway.url, other.url], key)


def test_every_gateway_gets_the_command_and_is_asked_for_completions(
    both: Fleet, gateway: Any, other: Any
) -> None:
    """One flips the state, the other finds it flipped; both serve stable."""
    found = both.rollback("chat", "smells")
    assert found.outcome is Outcome.RESTORED
    assert (found.release, found.epoch, found.changed) == ("v1", 18, True)
    assert sorted(one.state for one in found.gateways) == ["flipped", "unchanged"]
    assert [one.served for one in found.gateways] == [["v1", "v1"]] * 2
    assert found.acknowledged_milliseconds is not None
    for one in (gateway, other):
        told = [body for _, path, body in one.asked if path.endswith("/rollback")]
        assert told == [{"reason": "smells"}]
    assert found.sentence.startswith("restored: chat is on v1, epoch 18 (2 of 2 gateways in 0.")


def test_a_second_one_changes_nothing_and_says_so(both: Fleet) -> None:
    """And proves it all the same."""
    both.rollback("chat", "smells")
    found = both.rollback("chat", "still smells")
    assert (found.outcome, found.changed) == (Outcome.RESTORED, False)
    assert "chat is on v1 already" in found.sentence


def test_one_that_cannot_be_reached_is_named_and_holds_nobody_up(
    gateway: Any, key: str, closed_port: int
) -> None:
    """Stable is restored for all who can be asked; the other converges by the state."""
    away = f"http://127.0.0.1:{closed_port}"
    found = Fleet([away, gateway.url], key).rollback("chat", "smells")
    assert found.outcome is Outcome.RESTORED
    assert [one.state for one in found.gateways] == ["unreachable", "flipped"]
    assert f"{away} unreachable: " in found.sentence


def test_no_gateway_no_flip(key: str, closed_port: int) -> None:
    """It says so."""
    found = Fleet([f"http://127.0.0.1:{closed_port}"], key).rollback("chat", "smells")
    assert (found.outcome, found.release, found.changed) == (Outcome.NOT_FLIPPED, None, False)


def test_a_gateway_that_still_serves_the_candidate_is_not_proved(both: Fleet, other: Any) -> None:
    """Whatever it answered to the command."""
    other.serves = "v2"
    found = both.rollback("chat", "smells")
    assert found.outcome is Outcome.NOT_PROVED
    assert f"{other.url} is not proved: answered by v2, v2" in found.problems


def test_a_gateway_whose_completions_fail_is_not_proved(
    both: Fleet, gateway: Any, acts: Any
) -> None:
    """The flip stands."""
    def fails(handler: Any) -> None:
        if handler.path.endswith("/completions"):
            return handler.no(503, "overloaded", "no engine")
        return handler.route({})

    gateway.next(*[fails] * 50)
    found = both.rollback("chat", "smells")
    assert found.outcome is Outcome.NOT_PROVED
    assert found.release == "v1"
    (problem,) = found.problems
    assert problem.startswith(f"{gateway.url} is not proved: a completion failed: ")


def test_a_gateway_without_coalmine_is_not_proved(both: Fleet, other: Any) -> None:
    """Its answers name no release."""
    other.serves = None
    found = both.rollback("chat", "smells")
    assert found.outcome is Outcome.NOT_PROVED
    assert "names no release" in found.sentence


def test_a_worker_that_does_not_apply_it_is_named(
    both: Fleet, gateway: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while."""
    monkeypatch.setattr(module, "WAIT", 0.1)
    gateway.lags = other.lags = True
    found = both.rollback("chat", "smells")
    assert found.outcome is Outcome.NOT_PROVED
    workers = ", ".join(one["id"] for one in gateway.services["chat"]["workers"])
    assert f"not applied by {workers}" in found.problems
    assert found.acknowledged_milliseconds is None


def test_from_idle_all_are_told_the_release_by_name(both: Fleet, gateway: Any, other: Any) -> None:
    """A second command without it would go forward again."""
    gateway.services["chat"].update(phase="idle", stable="v2", previous="v1", candidate=None)
    both.rollback("chat", "smells")
    for one in (gateway, other):
        (told,) = [body for _, path, body in one.asked if path.endswith("/rollback")]
        assert told == {"reason": "smells", "to": "v1"}


def test_a_wrong_key_is_refused_by_all(gateway: Any) -> None:
    """And nothing is flipped."""
    found = Fleet([gateway.url], "sk-wrong").rollback("chat", "smells")
    assert found.outcome is Outcome.NOT_FLIPPED
    assert found.gateways[0].state == "refused"
    assert "that key is not known" in found.sentence
    assert "sk-wrong" not in found.sentence


def test_what_was_found_is_json(both: Fleet) -> None:
    """For the result file."""
    document = both.rollback("chat", "smells").to_document()
    assert document["outcome"] == "restored"
    assert {one["state"] for one in document["gateways"]} == {"flipped", "unchanged"}
