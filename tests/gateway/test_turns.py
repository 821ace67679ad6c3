"""The records of requests: found by our own token, and never kept for ever."""

from typing import Any

import pytest

from coalmine.gateway.turns import (
    FINISHED_KEPT,
    IDLE_KEPT,
    LOST_AFTER,
    TOKEN,
    OpenAttempt,
    Turns,
)


@pytest.mark.parametrize("data", [
    {"metadata": {}}, {"litellm_metadata": {}}, {"litellm_metadata": {}, "metadata": {"a": 1}},
    {}, {"metadata": None}, {"metadata": "text"}, {"metadata": {TOKEN: "of the client"}},
])
def test_a_record_is_found_again(data: dict[str, Any]) -> None:
    """Whatever the client had put there."""
    turns = Turns()
    turn = turns.begin(data, "chat", "chat", 0.0)
    assert turns.of(data) is turn


def test_on_messages_the_clients_own_metadata_is_left_alone() -> None:
    """It goes to the engine."""
    data: dict[str, Any] = {"litellm_metadata": {}, "metadata": {"user_id": "u"}}
    Turns().begin(data, "chat", "messages", 0.0)
    assert data["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize("kwargs", [
    None, {}, {"metadata": None}, {"metadata": {TOKEN: 5}}, {"metadata": {TOKEN: "guess"}},
    {"metadata": {TOKEN: ["x"]}},
])
def test_nobody_finds_a_record_by_guessing(kwargs: Any) -> None:
    """Nor does anything raise."""
    turns = Turns()
    turns.begin({}, "chat", "chat", 0.0)
    assert turns.of(kwargs) is None


def test_a_finished_record_is_kept_for_hooks_that_come_late() -> None:
    """And then forgotten."""
    turns = Turns()
    turn = turns.begin({}, "chat", "chat", 0.0)
    turn.finished = 100.0
    assert turns.sweep(100.0 + FINISHED_KEPT) == []
    assert len(turns) == 1
    assert turns.sweep(100.1 + FINISHED_KEPT) == []
    assert len(turns) == 0


def test_a_request_that_litellm_refused_does_not_stay() -> None:
    """It has no attempt and no end; a client that hammers at a limit must not fill the memory."""
    turns = Turns()
    for _ in range(100):
        turns.begin({}, "chat", "chat", 0.0)
    turns.sweep(IDLE_KEPT)
    assert len(turns) == 100
    assert turns.sweep(IDLE_KEPT + 0.1) == []
    assert len(turns) == 0


def test_a_request_that_never_ended_is_given_up_and_told() -> None:
    """A stream may last long, but not for ever."""
    turns = Turns()
    turn = turns.begin({}, "chat", "chat", 0.0)
    turn.open = OpenAttempt("d", "acompletion", "v1", None, 0.0)
    assert turns.sweep(LOST_AFTER) == []
    assert turns.sweep(LOST_AFTER + 0.1) == [turn]
    assert len(turns) == 0
