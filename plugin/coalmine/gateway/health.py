"""Whether Coalmine is well: what `/coalmine/healthz` says, without any configuration in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from coalmine.control.controller import published_name
from coalmine.control.policy_report import PolicyReport
from coalmine.state import State

SILENT = 5.0
"""Seconds without the state after which it counts as out of reach."""

NOBODY = 10.0
"""Seconds without a new publication after which no controller counts as alive. It publishes every
second; another takes the lease of a dead one within two."""


class ControllerWatch:
    """Whether some worker judges the rollouts, known from what it publishes.

    Publications are told apart, not compared with a clock: those of two hosts may differ.

    Args:
        mono: monotonic seconds.
    """

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._began = mono()
        self._last: dict[str, Any] = {}
        self._moved: float | None = None

    def look(self, state: State, services: Iterable[str]) -> None:
        """Look for a new publication, of any of the services: one may be a service that cannot be
        judged, which says nothing of the controller.

        Args:
            state: the shared state.
            services: those that the state holds, and so a controller publishes.

        Raises:
            StateError: when the state does not answer.
        """
        found: dict[str, Any] = {}
        for name in services:
            found[name] = (state.published(published_name(name)) or {}).get("at")
            # The first one seen of a service may be a dead controller's last word.
            if name in self._last and self._last[name] != found[name]:
                self._moved = self._mono()
                break  # one is enough, and each is a call to the state
        if not found:
            self._began, self._moved = self._mono(), None
        self._last = found

    def unknown(self) -> None:
        """Nothing could be looked at: the time until it can be again does not count."""
        self._began, self._moved = self._mono(), None

    def status(self) -> str:
        """Return ``ok``, ``missing``, or ``unknown`` where that cannot be said yet."""
        if not self._last:
            return "unknown"
        if self._moved is not None and self._mono() - self._moved <= NOBODY:
            return "ok"
        return "missing" if self._mono() - self._began > NOBODY else "unknown"


def standing(report: PolicyReport, *, observing: bool, problems: int) -> str:
    """Return what a worker does, in words, for the log of its start."""
    if problems:
        return "stable only: this LiteLLM is not supported"
    if observing:
        return f"no policy {report.file}: observing"
    return f"stable only: {report.message}" if report.blocks else f"policy {report.file}"


def health_document(
    report: PolicyReport, *, observing: bool, silence: float, unused: bool, problems: int,
    controller: str, warnings: int,
) -> tuple[dict[str, Any], bool]:
    """Return the document of healthz and whether all is well.

    Args:
        report: how the policy file stands.
        observing: whether this start found no policy.
        silence: seconds since the state was heard of.
        unused: whether the state was not looked for yet, since no policy has named it. For a
            moment that is so also of a policy that was mended just now.
        problems: how many of LiteLLM's hooks are not the ones we know.
        controller: what :class:`ControllerWatch` says.
        warnings: how many deployments are doubtful.
    """
    reached = silence < SILENT
    mode = "observe" if observing else "rollout"
    if problems or unused:
        mode = "stable_only"
    state = "reached" if reached else "unused" if unused else "out_of_reach"
    judged = "unknown" if observing or not reached else controller
    well = reached and not problems and report.status != "error" and judged != "missing"
    return {
        "status": "ok" if well else "degraded",
        "mode": mode,
        "state": state,
        "policy": report.status,
        "controller": judged,
        "litellm": "unsupported" if problems else "ok",
        "warnings": warnings,
    }, well
