"""For all tests: LiteLLM's price list from its own package, and patience."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # not from the network


def _until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)
    return met


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Wait until a condition is met, and return what it returned."""
    return _until
