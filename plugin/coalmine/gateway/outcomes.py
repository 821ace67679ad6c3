"""Which exception is whose fault: one table from HTTP status to outcome.

What the client caused (400, 413, 422, its own timeouts, its disconnects) is never the release's
failure; an engine's 401, 403, 404, 408 and 429 are. A client whose own timeout is over would not
wait any longer, as one that goes.
"""

from __future__ import annotations

import asyncio

from coalmine.guardrails import Outcome

CLIENT_STATUSES = frozenset({400, 413, 422})
"""Statuses that say "your request is wrong"."""

TIMEOUT_STATUSES = frozenset({408, 504})


def outcome_of(error: BaseException, *, client_timeout: bool = False) -> Outcome:
    """Return how an attempt that ended with `error` counts.

    Args:
        error: what LiteLLM raised, or the cancellation that a client's disconnect causes.
        client_timeout: whether the client set the timeout (LiteLLM's ``client_side_timeout``).
    """
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return Outcome.DISCONNECT
    status = getattr(error, "status_code", None)
    try:
        status = int(status) if status is not None else None
    except (TypeError, ValueError):
        status = None
    if status in TIMEOUT_STATUSES or isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return Outcome.DISCONNECT if client_timeout else Outcome.TIMEOUT
    if status in CLIENT_STATUSES:
        return Outcome.CLIENT_ERROR
    if status == 499:
        return Outcome.DISCONNECT
    return Outcome.ERROR
