"""What of an attempt evidence compares."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from coalmine.guardrails.attempt import Attempt


class Measure(str, Enum):
    """What is compared: failures, times, amounts and scores."""

    ERRORS = "errors"
    TTFT = "ttft"
    INTER_TOKEN = "inter_token"
    REQUEST = "request"
    TOKENS = "tokens_per_request"
    COST = "cost_per_request"
    SCORE = "score"


LATENCIES = frozenset({Measure.TTFT, Measure.INTER_TOKEN, Measure.REQUEST})
"""What depends on the load."""

READ: dict[Measure, Callable[[Attempt], float | None]] = {
    Measure.TTFT: lambda attempt: attempt.ttft,
    Measure.INTER_TOKEN: lambda attempt: attempt.inter_token,
    Measure.REQUEST: lambda attempt: attempt.seconds or None,
    # In thousands and in cents, as the histogram's range (1e-4 to 730) is made for seconds.
    Measure.TOKENS: lambda attempt: None if attempt.tokens is None else attempt.tokens / 1000,
    Measure.COST: lambda attempt: None if attempt.cost is None else attempt.cost * 100,
    Measure.SCORE: lambda attempt: None if attempt.score is None else 1.0 - attempt.score,
}
"""How it is read; the score as what is missing to 1, so that higher is worse everywhere."""
