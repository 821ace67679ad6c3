"""Why attempts fail, for whoever reads the proxy's log: counters say how many, not what it was.

A client whose request was rescued sees nothing, and LiteLLM logs nothing. So each new cause gets a
line, and one a minute while it lasts. Only the names of classes and HTTP statuses are told: an
engine's own message may quote what a user wrote.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from coalmine.guardrails import Attempt

log = logging.getLogger("coalmine.failures")

AGAIN = 60.0
"""Seconds between two lines about one cause at one deployment."""

KEPT = 200
"""Causes that are remembered; with more, all are forgotten and told anew."""

WRAPPERS = ("litellm", "openai")
"""Packages whose exceptions wrap the one that says what happened."""

REPLACED = "another attempt followed"
ERROR_INSIDE = "an error inside the answer"
GIVEN_UP = "the engine gave the answer up"
NO_END = "the stream ended without a finish_reason"
NEVER_ENDED = "it never ended"
"""What is told of a failure that came with no exception."""


def cause_of(error: BaseException) -> str:
    """Return what an exception says of its cause, in class names and an HTTP status.

    LiteLLM makes an `InternalServerError` with status 500 of a connection that was refused; what
    it was made of tells the two apart, as in ``InternalServerError 500, ConnectionRefusedError``.
    """
    name, status = type(error).__name__, getattr(error, "status_code", None)
    told = f"{name} {status}" if isinstance(status, int) else name
    root = type(list(_beneath(error))[-1])
    known = root is type(error) or root.__module__.split(".")[0] in WRAPPERS
    return told if known else f"{told}, {root.__name__}"


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised for, the innermost last."""
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = inner.__cause__ or inner.__context__


@dataclass(slots=True)
class _Told:
    at: float
    since: int = 0


class FailureLog:
    """Tells why attempts fail, each cause at each deployment once a minute at most."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], _Told] = {}

    def note(self, attempt: Attempt, cause: str) -> None:
        """Take note of a failed attempt."""
        about = (attempt.service, attempt.deployment, attempt.outcome, cause)
        told = self._told.get(about)
        if told is not None and attempt.at - told.at < AGAIN:
            told.since += 1
            return
        if len(self._told) >= KEPT:
            self._told.clear()
        since = f", {told.since} more like it since the last line" if told and told.since else ""
        self._told[about] = _Told(attempt.at)
        log.warning(
            "an attempt at %r (release %r of %r) counts as %s: %s%s", attempt.deployment,
            attempt.release, attempt.service[:100], attempt.outcome.value, cause, since,
        )
