"""The circuit breaker: a worker that sees the candidate fail outright cuts it off by itself.

It needs no controller and no shared state: the worker's own attempts are evidence enough, only less
of it. Its bar is higher than the controller's, as every worker of the fleet has one. The hot path
only appends to a queue; a thread bets when a failure of the candidate wakes it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from coalmine.guardrails import Attempt
from coalmine.guardrails.alpha import PROVEN, bars, with_evidence
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import Question
from coalmine.guardrails.weighing import wealth_in_words
from coalmine.release import CoalmineError
from coalmine.rollout.service import Rollout
from coalmine.rollout.trial import horizon
from coalmine.routing import Arm

log = logging.getLogger("coalmine.circuit_breaker")

MARGIN = 0.1
"""Is its rate of failing conversations more than 10 % above stable's? A policy can say more."""

BAR = 10_000.0
"""Evidence at which it opens at least: with two detectors on each of forty workers, a healthy
candidate is cut off by chance in less than one of a hundred rollouts."""

ONLY_ONE = 100
"""Conversations of one caller, and of nobody else, from which on he is all the service has."""

HIGHER = 10.0
"""How many times the controller's bar it is at least."""

EVERY = 5.0
"""Seconds between two looks while nothing fails; then nothing is urgent."""

KEPT = 50_000
"""Attempts that wait for a look at most."""

JOIN = 1.0
"""Seconds that a stop waits for the thread."""


class _Watched:
    """One service's rollout, as this worker has seen it."""

    def __init__(self, rollout: Rollout) -> None:
        self.id = rollout.id
        self.began = rollout.began
        policy = rollout.policy
        # What the policy tolerates of errors is tolerated here too.
        margins = [guardrail.worse_by for guardrail in with_evidence(policy.guardrails)
                   if guardrail.metric.measure is Measure.ERRORS]
        question = Question(Measure.ERRORS, max([MARGIN, *margins]))
        told = bars(policy.guardrails, policy.alpha)
        self.bar = max([BAR, *(HIGHER * bar for bar in told.values())])
        self.evidence = Evidence([question], horizon=horizon(policy),
                                 idle=policy.sessions.closes_after)
        self.test = self.evidence.tests[question]
        self.tripped = False


class CircuitBreaker:
    """The circuit breaker of one worker, for all its services.

    Args:
        rollout: returns the rollout that runs for a service, None when none does.
        trip: goes back to stable: service, the rollout's id, reason in words, figures for the
            log.
    """

    def __init__(self, rollout: Callable[[str], Rollout | None],
                 trip: Callable[[str, str, str, dict[str, Any]], None]) -> None:
        self._rollout = rollout
        self._trip = trip
        self._watched: dict[str, _Watched] = {}
        self._attempts: deque[Attempt] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coalmine-breaker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN)

    def add(self, attempt: Attempt) -> None:
        """Take an attempt that is evidence, or word that it still runs. Called on the hot path."""
        if len(self._attempts) < KEPT:
            self._attempts.append(attempt)
        if attempt.failed and attempt.arm is Arm.CANDIDATE:
            self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(EVERY)
            self._wake.clear()
            try:
                self.look()
            except Exception:
                # The controller still judges; a breaker that is dead must not go unnoticed.
                log.exception("the circuit breaker goes on")

    def look(self) -> None:
        """Bet on the attempts that have ended since the last look."""
        while self._attempts:
            attempt = self._attempts.popleft()
            watched = self._follow(attempt.service)
            if watched is None or watched.tripped or attempt.at < watched.began:
                continue
            if attempt.arm is None:  # a fallback to another group
                continue
            watched.evidence.add(attempt)
            if watched.test.wealth >= watched.bar:
                self._open(attempt.service, watched)

    def _follow(self, service: str) -> _Watched | None:
        rollout = self._rollout(service)
        if rollout is None or not rollout.policy.circuit_breaker:
            self._watched.pop(service, None)
            return None
        watched = self._watched.get(service)
        if watched is None or watched.id != rollout.id:
            watched = self._watched[service] = _Watched(rollout)
        return watched

    def _open(self, service: str, watched: _Watched) -> None:
        """Go back to stable, unless it may be one caller's doing."""
        leading = watched.test.leading
        # This worker sees only some of the callers: what a single one has shown is for the
        # controller, who sees all.
        alone = watched.evidence.callers == 1 and sum(leading.counts.units) >= ONLY_ONE
        if not alone and watched.test.one_caller(watched.bar, PROVEN) is not None:
            return
        watched.tripped = True
        bad, units = leading.counts.bad, leading.counts.units
        reason = (f"this worker saw the candidate fail {bad[1]} of {units[1]} conversations, "
                  f"stable {bad[0]} of {units[0]}: evidence "
                  f"{wealth_in_words(leading.wealth.total)}, bar {wealth_in_words(watched.bar)}")
        log.warning("%s: %s", service, reason)
        figures = {"evidence": leading.wealth.total, "bar": watched.bar, "detector": leading.name,
                   "candidate": {"conversations": units[1], "failed": bad[1]},
                   "stable": {"conversations": units[0], "failed": bad[0]}}
        try:
            self._trip(service, watched.id, reason, figures)
        except CoalmineError as error:
            watched.tripped = False
            log.warning("%s: the circuit breaker could not roll back: %s", service, error)
        except Exception:
            watched.tripped = False
            raise
