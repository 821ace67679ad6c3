"""Why attempts fail, for whoever reads the proxy's log: counters say how many, not what it was.

A client whose request was rescued sees nothing, and LiteLLM logs nothing. So each new cause gets a
line, and one a minute while it lasts. Only the names of classes and HTTP statuses are told: an
engine's own message may quote what a user wrote.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from coalmine.guardrails import Attempt

log = logging.getLogger("coalmine.failures")

AGAIN = 60.0
"""Seconds between two lines about one cause at one deployment."""

KEPT = 200
"""Causes that are remembered; with more, all are forgotten and told anew."""

REPLACED = "another attempt followed"
ERROR_INSIDE = "an error inside the answer"
GIVEN_UP = "the engine gave the answer up"
NO_END = "the stream ended without a finish_reason"
NEVER_ENDED = "it never ended"
"""What is told of a failure that came with no exception."""


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
        if told is not None and 0 <= attempt.at - told.at < AGAIN:
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
