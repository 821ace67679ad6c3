"""The figures of one service: the controller's windows, fed attempt by attempt."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from coalmine.guardrails import Attempt, Guardrail, Metric, Outcome, Verdict, Window, judge, weigh
from coalmine.guardrails.attempt import NO_CONVERSATION
from coalmine.guardrails.judge import Finding
from coalmine.rollout.advance import step_over
from coalmine.rollout.service import Service
from coalmine.routing import ROLLOUT_RUNS, Arm, Phase

STATUS_SPAN = 300.0
"""Seconds over which status shows percentiles."""

BASELINE_SPAN = 900.0
"""Seconds of stable's past that are recorded at a start."""

HOUR = 3600.0

COUNTED = 1_000_000
"""Conversations that are told apart in one step at most."""

HANDED_OVER = 2_000
"""Conversations of a step that are published one by one while the step lacks its minimum, so that
the next controller tells them from new ones; of more it learns the number only."""

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
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.rollout: str | None = None
        self.step_began: float | None = None
        self.last_candidate: float | None = None
        self.first_failure: float | None = None
        self.last_failure: float | None = None
        self._step: set[str] = set()
        self._step_before = 0
        self._arms = {Arm.STABLE: Window(STATUS_SPAN), Arm.CANDIDATE: Window(STATUS_SPAN)}
        self._seen: dict[Arm, set[str]] = {Arm.STABLE: set(), Arm.CANDIDATE: set()}
        self._attempts = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
        self._failures = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
        self._baseline = Window(BASELINE_SPAN)
        self._candidate: dict[float, Window] = {}
        self._concurrent: dict[float, Window] = {}
        self._recognised = Recognised()
        self._began = 0.0
        self._names: dict[Arm, str | None] = dict.fromkeys(Arm)

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
            self.rollout = rollout.id if rollout else None
            self._began = rollout.began if rollout else 0.0
            self._names[Arm.CANDIDATE] = service.candidate
            self.last_candidate = self.first_failure = self.last_failure = None
            if remembered is not None and remembered.get("rollout") == self.rollout:
                self.last_candidate = remembered.get("last_candidate")
            spans = {g.seconds for g in rollout.policy.guardrails} if rollout else set()
            self._candidate = {span: Window(span) for span in spans}
            self._concurrent = {span: Window(span) for span in spans}
            self._arms[Arm.CANDIDATE] = Window(STATUS_SPAN)
            self._seen = {Arm.STABLE: set(), Arm.CANDIDATE: set()}
            self._attempts = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
            self._failures = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
        if rollout is not None and rollout.step_began != self.step_began:
            self.step_began = rollout.step_began
            self._step, self._step_before = set(), 0
            if remembered is not None and remembered.get("step_began") == self.step_began:
                self._step = set(remembered.get("step_seen") or ())
                self._step_before = int(remembered.get("step_conversations") or 0)

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt of the service."""
        arm = attempt.arm
        if arm is None or attempt.release != self._names[arm]:
            return
        if attempt.judged:
            self._recognised.add(attempt.at, attempt.conversation)
        if arm is Arm.STABLE:
            self._baseline.add(attempt)
        self._arms[arm].add(attempt)
        if attempt.at < self._began:
            return
        conversation = attempt.conversation
        if attempt.judged:
            self._attempts[arm] += 1
            self._failures[arm] += attempt.failed
            if conversation and len(self._seen[arm]) < COUNTED:
                self._seen[arm].add(conversation)
        if arm is Arm.STABLE:
            if attempt.evidence:
                for window in self._concurrent.values():
                    window.add(attempt)
            return
        self._add_candidate(attempt)

    def _add_candidate(self, attempt: Attempt) -> None:
        """Take in an attempt of this rollout's candidate."""
        for window in self._candidate.values():
            window.add(attempt)
        if attempt.outcome is not Outcome.DOWN:  # which is no attempt
            self.last_candidate = max(self.last_candidate or 0.0, attempt.at)
        if attempt.failed:
            self.first_failure = self.first_failure or attempt.at
            self.last_failure = attempt.at
        if (attempt.judged and attempt.conversation and self.step_began is not None
                and attempt.at >= self.step_began and len(self._step) < COUNTED):
            self._step.add(attempt.conversation)

    @property
    def step_conversations(self) -> int:
        """Candidate conversations in this step."""
        return max(len(self._step), self._step_before)

    def _forget(self, now: float) -> None:
        for window in (*self._arms.values(), self._baseline, *self._candidate.values(),
                       *self._concurrent.values()):
            window.forget(now)
        self._recognised.forget(now)

    def findings(self, service: Service) -> list[Finding]:
        """Judge all guardrails of the rollout."""
        rollout = service.rollout
        if rollout is None:
            return []
        return [self._finding(guardrail, rollout.baseline)
                for guardrail in rollout.policy.guardrails]

    def _finding(self, guardrail: Guardrail, baseline: dict[str, float]) -> Finding:
        empty = Window(guardrail.seconds)
        return judge(guardrail, self._candidate.get(guardrail.seconds, empty),
                     self._concurrent.get(guardrail.seconds, empty), baseline)

    def verdict(self, service: Service, now: float) -> Verdict | None:
        """Return the verdict, None where nothing is judged."""
        self._forget(now)
        if service.phase not in ROLLOUT_RUNS:
            return None
        over, waiting = step_over(service, now, self.step_conversations)
        if service.phase is Phase.PAUSED:
            waiting = f"the weight stays at {service.weight:g} %: {service.reason}"
        elif service.phase is not Phase.CANARY:
            waiting = service.reason
        return weigh(self.findings(service), step_over=over, holding=waiting)

    def baseline(self) -> dict[str, float]:
        """Return stable's figures of the last minutes, for a start to record."""
        figures = {metric.value: value for metric in Metric
                   if (value := self._baseline.value(metric)) is not None}
        figures["attempts"] = float(self._baseline.judged)
        return figures

    def unrecognised(self) -> float | None:
        """Return the share of conversations of the last hour that were not recognised."""
        return self._recognised.missing()

    def arm(self, arm: Arm) -> dict[str, Any]:
        """Return one arm's figures, as status shows them."""
        window = self._arms[arm]
        return {
            "conversations": len(self._seen[arm]) if self.rollout else window.conversations,
            "attempts": self._attempts[arm] if self.rollout else window.judged,
            "failures": self._failures[arm] if self.rollout else window.failures,
            "ttft_p50": window.value(Metric.TTFT_P50),
            "ttft_p95": window.value(Metric.TTFT_P95),
            "ttft_p99": window.value(Metric.TTFT_P99),
        }

    def _handed_over(self, service: Service) -> list[str] | None:
        if service.rollout is None or service.phase not in (Phase.CANARY, Phase.PAUSED):
            return None
        lacking = len(self._step) < service.rollout.current_step.min_conversations
        return sorted(self._step) if lacking and len(self._step) <= HANDED_OVER else None

    def document(self, service: Service, verdict: Verdict | None, now: float) -> dict[str, Any]:
        """Return what is published for status, a start and a take-over."""
        self._forget(now)
        return {
            "at": now,
            "epoch": service.epoch,
            "rollout": self.rollout,
            "stable": self._names[Arm.STABLE],
            "verdict": verdict_document(verdict),
            "arms": {arm.value: self.arm(arm) for arm in Arm},
            "unrecognised": self.unrecognised(),
            "baseline": self.baseline(),
            "step_began": self.step_began,
            "step_conversations": self.step_conversations,
            "step_seen": self._handed_over(service),
            "last_candidate": self.last_candidate,
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
                "dry_run": finding.guardrail.dry_run,
                "sentence": finding.sentence,
            }
            for finding in verdict.findings
        ],
    }
