"""Attempts to count and guardrails to judge them by."""

from collections.abc import Callable
from typing import Any

import pytest

from coalmine.guardrails import Attempt, Guardrail, Outcome, Window
from coalmine.routing import Arm


def _attempt(at: float = 1.0, outcome: Outcome = Outcome.OK, **fields: Any) -> Attempt:
    usual: dict[str, Any] = {
        "service": "chat", "release": "v2", "arm": Arm.CANDIDATE, "deployment": "d1",
        "conversation": "c", "caller": "k", "seconds": 1.0,
    }
    return Attempt(at=at, outcome=outcome, **{**usual, **fields})


def _window(
    ok: int = 0, failed: int = 0, *, callers: int = 3, span: float = 60.0, **fields: Any
) -> Window:
    window = Window(span)
    for number in range(ok + failed):
        outcome = Outcome.ERROR if number < failed else Outcome.OK
        window.add(_attempt(1.0, outcome, **{
            "conversation": f"c{number}", "caller": f"k{number % callers}", **fields}))
    return window


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    """An attempt with sensible fields."""
    return _attempt


@pytest.fixture
def window() -> Callable[..., Window]:
    """A window with so many answered and failed attempts, a conversation each."""
    return _window


@pytest.fixture
def guardrail() -> Callable[..., Guardrail]:
    """A guardrail on the error rate unless it says otherwise."""
    return lambda **fields: Guardrail.model_validate(
        {"name": "g", "metric": "error_rate", "min_conversations": 5, **fields}
    )
