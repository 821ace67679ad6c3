"""Attempts and their events."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Attempt, Outcome
from coalmine.routing import Arm


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    """An attempt as the gateway makes it; what a test is about is given."""

    def make(at: float = 1.0, **fields: Any) -> Attempt:
        usual: dict[str, Any] = {
            "service": "chat", "release": "v2", "arm": Arm.CANDIDATE, "deployment": "green-1",
            "outcome": Outcome.OK, "conversation": "00112233aabbccdd", "caller": "ddccbbaa33221100",
            "alias": "alice", "chance": 0.05, "first_turn": True, "evidence": True, "ttft": 0.25,
            "inter_token": 0.0125, "seconds": 2.5, "tokens": 181}
        return Attempt(at=at, **{**usual, **fields})

    return make


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """An event of the candidate as people write it; a field that is `...` is left out."""

    def make(t: Any = 1.0, **fields: Any) -> dict[str, Any]:
        usual: dict[str, Any] = {
            "t": t, "conversation": "c1", "turn": 0, "release": "v2", "arm": "candidate",
            "chance": 0.05, "outcome": "ok"}
        return {name: value for name, value in {**usual, **fields}.items() if value is not ...}

    return make
