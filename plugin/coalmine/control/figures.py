"""The figures of one service, as status shows them and a start records them; and its trial."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from coalmine.guardrails import Attempt, Metric, Outcome, Verdict, Window
from coalmine.guardrails.attempt import NO_CONVERSATION
from coalmine.rollout.advance import step_over
from coalmine.rollout.service import Service
from coalmine.rollout.trial import Trial
from coalmine.routing import ROLLOUT_RUNS, Arm, Phase

STATUS_SPAN = 300.0
"""Seconds over which status shows percentiles."""

BASELINE_SPAN = 900.0
"""Seconds of stable's past that are recorded at a start."""

UNWATCHED = 10.0
"""Seconds between two judgements from which on a step's clock counts as unwatched: more than a
take-over needs."""

HOUR = 3600.0

HOUR_KEPT = 200_000
"""Conversations of the last hour that are told apart; with more the hour becomes shorter."""


class Recognised:
    """How many of the last hour's conversations were recognised, minute by minute."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, set[str], list[int]]] = deque()
        self._known: Counter[str] = Counter()
        self._held = 0
        self._unknown = 0

    def add(self, at: float, conversation: str) -> None:
        """Count an attempt; "" is a conversation that was not recognised."""
        if conversation == NO_CONVERSATION:
            return
        minute = int(at // 60)
        if not self._minutes or minute > self._minutes[-1][0]:
            self._minutes.append((minute, set(), [0]))
        _, known, unknown = self._minutes[-1]
        if not conversation:
            unknown[0] += 1
            self._unknown += 1
        elif conversation not in known:
            known.add(conversation)
            self._known[conversation] += 1
            self._held += 1
            while self._held > HOUR_KEPT and len(self._minutes) > 1:
                self._drop()

    def forget(self, now: float) -> None:
        """Drop what is older than an hour."""
        oldest = (now - HOUR) // 60
        while self._minutes and self._minutes[0][0] < oldest:
            self._drop()

    def _drop(self) -> None:
        _, known, unknown = self._minutes.popleft()
        self._unknown -= unknown[0]
        self._held -= len(known)
        self._known.subtract(known)
        for conversation in known:
            if self._known[conversation] <= 0:
                del self._known[conversation]

    def missing(self) -> float | None:
        """Return the share that was not recognised, None without conversations."""
        everything = len(self._known) + self._unknown
        return self._unknown / everything if everything else None


class Figures:
    """What the controller knows of one service.

    Args:
        service: its name.

    Attributes:
        trial: the trial of its rollout, None without one.
        unwatched: seconds that the clock of the rollout's step (or bake) ran while nobody judged.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.trial: Trial | None = None
        self._arms = {Arm.STABLE: Window(STATUS_SPAN), Arm.CANDIDATE: Window(STATUS_SPAN)}
        self._baseline = Window(BASELINE_SPAN)
        self._recognised = Recognised()
        self._names: dict[Arm, str | None] = dict.fromkeys(Arm)
        self._step_began: float | None = None
        self._judged: float | None = None
        self.unwatched = 0.0

    @property
    def rollout(self) -> str | None:
        """Id of the rollout, None without one."""
        return self.trial.id if self.trial else None

    def follow(self, service: Service, remembered: dict[str, Any] | None = None) -> None:
        """Follow the service's rollout and step; a new one begins with empty windows.

        `remembered` is what an earlier controller had published, for a take-over.
        """
        rollout = service.rollout
        if service.stable != self._names[Arm.STABLE]:
            # What another release did says nothing about this one.
            self._names[Arm.STABLE] = service.stable
            self._baseline = Window(BASELINE_SPAN)
            self._arms[Arm.STABLE] = Window(STATUS_SPAN)
        if (rollout.id if rollout else None) != self.rollout:
            self._names[Arm.CANDIDATE] = service.candidate
            self._arms[Arm.CANDIDATE] = Window(STATUS_SPAN)
            self.trial = Trial(rollout, service.stable, service.candidate) if rollout else None
            if self.trial is not None:
                for attempt in self._baseline:
                    self.trial.evidence.learn(attempt)
        if rollout is not None and self.trial is not None:
            if rollout.step_began != self._step_began:
                self._step_began = rollout.step_began
                self.unwatched = 0.0
            self.trial.follow(rollout)
            if remembered is not None and remembered.get("rollout") == self.rollout:
                self.trial.remember(remembered)
                self._judged = remembered.get("at")
                if remembered.get("step_began") == self._step_began:
                    self.unwatched = remembered.get("unwatched", 0.0)

    def add(self, attempt: Attempt, *, evidence: bool = True) -> None:
        """Take in an attempt of the service; `evidence` as of :meth:`Trial.add`."""
        arm = attempt.arm
        if arm is None or attempt.release != self._names[arm]:
            return
        if attempt.outcome is not Outcome.WAITING:
            if attempt.judged:
                self._recognised.add(attempt.at, attempt.conversation)
            if arm is Arm.STABLE:
                self._baseline.add(attempt)
            self._arms[arm].add(attempt)
        if self.trial is not None:
            self.trial.add(attempt, evidence=evidence)

    @property
    def step_conversations(self) -> int:
        """Candidate conversations in this step."""
        return self.trial.step_conversations if self.trial else 0

    def _forget(self, now: float) -> None:
        for window in (*self._arms.values(), self._baseline):
            window.forget(now)
        self._recognised.forget(now)
        if self.trial is not None:
            self.trial.pass_time(now)

    def _miss(self, service: Service, now: float) -> None:
        """Take note of the time in which nobody judged: no controller ran, or none reached the
        state, and so new conversations got stable."""
        before, self._judged = self._judged, now
        if service.rollout is not None and before is not None and now - before > UNWATCHED:
            self.unwatched += service.rollout.soak(now) - service.rollout.soak(before)

    def verdict(self, service: Service, now: float) -> Verdict | None:
        """Return the verdict, None where nothing is judged."""
        self._forget(now)
        self._miss(service, now)
        if self.trial is None or service.phase not in ROLLOUT_RUNS:
            return None
        over, waiting = step_over(service, now, self.step_conversations, self.unwatched)
        if service.phase is Phase.PAUSED:
            waiting = f"the weight stays at {service.weight:g} %: {service.reason}"
        elif service.phase is not Phase.CANARY:
            waiting = service.reason
        return self.trial.verdict(service, now, over=over, waiting=waiting)

    def compare_loads(self, capacity: Mapping[Arm, float], *, shared_host: bool) -> None:
        """Say how much each arm can bear, so that latencies are compared only where that is fair.

        Args:
            capacity: of each arm, in any unit; an arm without any is left out.
            shared_host: whether the arms share a host.
        """
        if self.trial is not None and all(capacity.get(arm, 0.0) > 0.0 for arm in Arm):
            candidate, stable = (self._arms[arm].judged / capacity[arm]
                                 for arm in (Arm.CANDIDATE, Arm.STABLE))
            self.trial.compare_loads(candidate, stable, shared_host=shared_host)

    def baseline(self) -> dict[str, float]:
        """Return stable's figures of the last minutes, for a start to record."""
        figures = {metric.value: value for metric in Metric if not metric.is_whole
                   and (value := self._baseline.value(metric)) is not None}
        figures["attempts"] = float(self._baseline.judged)
        return figures

    def unrecognised(self) -> float | None:
        """Return the share of conversations of the last hour that were not recognised."""
        return self._recognised.missing()

    def arm(self, arm: Arm) -> dict[str, Any]:
        """Return one arm's figures, as status shows them."""
        window, trial = self._arms[arm], self.trial
        return {
            "conversations": trial.conversations(arm) if trial else window.conversations,
            "attempts": trial.attempts[arm] if trial else window.judged,
            "failures": trial.failures[arm] if trial else window.failures,
            "ttft_p50": window.value(Metric.TTFT_P50),
            "ttft_p95": window.value(Metric.TTFT_P95),
            "ttft_p99": window.value(Metric.TTFT_P99),
        }

    def document(self, service: Service, verdict: Verdict | None, now: float) -> dict[str, Any]:
        """Return what is published for status, a start and a take-over."""
        self._forget(now)
        trial = self.trial
        return {
            "at": now,
            "epoch": service.epoch,
            "rollout": self.rollout,
            "stable": self._names[Arm.STABLE],
            "verdict": verdict_document(verdict),
            "arms": {arm.value: self.arm(arm) for arm in Arm},
            "unrecognised": self.unrecognised(),
            "baseline": self.baseline(),
            "step_began": self._step_began,
            "unwatched": self.unwatched,
            "step_conversations": self.step_conversations,
            "step_seen": trial.handed_over(service) if trial else None,
            "last_candidate": trial.last_candidate if trial else None,
        }


def verdict_document(verdict: Verdict | None) -> dict[str, Any] | None:
    """Return a verdict as the API shows it."""
    if verdict is None:
        return None
    return {
        "decision": verdict.decision.value,
        "reason": verdict.reason,
        "guardrails": [
            {
                "name": finding.guardrail.name,
                "metric": finding.guardrail.metric.value,
                "status": finding.status.value,
                "candidate": finding.candidate,
                "stable": finding.stable,
                "limit": finding.limit,
                "one_in": finding.one_in,
                "against": finding.against,
                "evidence": finding.evidence,
                "bar": finding.bar,
                "decided_in": finding.decided_in,
                "proven": finding.proven,
                "dry_run": finding.guardrail.dry_run,
                "sentence": finding.sentence,
            }
            for finding in verdict.findings
        ],
        "split": asdict(verdict.split) if verdict.split is not None else None,
    }
