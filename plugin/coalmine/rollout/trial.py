"""A trial: all that is known of one rollout's two arms, attempt by attempt, and what it says.

Windows for the static guardrails, evidence for the rest, and what a step waits for. The controller
feeds it with what the workers ship, a replay with recorded events: both judge alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coalmine.guardrails import Attempt, Guardrail, Outcome, Rule, Verdict, Window, weigh
from coalmine.guardrails.alpha import PROVEN, bars, question_of, with_evidence
from coalmine.guardrails.burn_rate import judge_burn_rate
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.judge import Arms, Finding, judge
from coalmine.guardrails.measure import LATENCIES, Measure
from coalmine.guardrails.sequential import SequentialTest
from coalmine.guardrails.weighing import judge_evidence
from coalmine.rollout.policy import ServicePolicy
from coalmine.rollout.service import Rollout, Service
from coalmine.routing import ROLLOUT_RUNS, Arm, Phase

RECENT = 300.0
"""Seconds over which evidence shows both arms' figures beside it."""

SHORTEST = 3600.0
"""Seconds: a rollout is provided for at least so long."""

COMPARABLE = 2.0
"""Factor between the loads per capacity of the arms within which their latencies are comparable."""

COUNTED = 1_000_000
"""Conversations that are told apart in one step, or of one arm, at most."""

HANDED_OVER = 2_000
"""Conversations of a step that are handed over one by one while the step lacks its minimum, so that
the next controller tells them from new ones; of more it learns the number only."""


def horizon(policy: ServicePolicy) -> float:
    """Return how long a rollout is planned to take, in seconds."""
    plan = policy.rollout
    return max(SHORTEST, sum(step.soak for step in plan.steps) + plan.bake)


def evidence_for(policy: ServicePolicy) -> Evidence:
    """Return the evidence that a policy's guardrails and steps ask for."""
    guardrails = policy.guardrails
    questions = [question_of(guardrail) for guardrail in guardrails]
    if any(step.require for step in policy.rollout.steps):
        questions += [question_of(guardrail, against=True)
                      for guardrail in with_evidence(guardrails)]
    return Evidence((question for question in questions if question is not None),
                    horizon=horizon(policy), idle=policy.sessions.closes_after)


class Trial:
    """One rollout's trial.

    Args:
        rollout: the rollout, for its policy, baseline and beginning.
        stable: the stable release.
        candidate: the candidate, None for whatever runs on its arm.

    Attributes:
        evidence: the evidence so far.
        last_candidate: unix time of the candidate's last attempt, None before.
        first_failure, last_failure: the same of the candidate's failures.
        attempts, failures: judged attempts by arm since the beginning.
        shared_host: whether the arms share a host.
    """

    def __init__(self, rollout: Rollout, stable: str, candidate: str | None) -> None:
        policy = rollout.policy
        self.id = rollout.id
        self._policy = policy
        self._baseline = rollout.baseline
        self._began = rollout.began
        self._names = {Arm.STABLE: stable, Arm.CANDIDATE: candidate}
        self._bars = bars(policy.guardrails, policy.alpha)
        self.forget_evidence()
        spans = {span for guardrail in policy.guardrails for span in guardrail.spans} | {RECENT}
        self._windows = {arm: {span: Window(span) for span in spans} for arm in Arm}
        self.last_candidate: float | None = None
        self.first_failure: float | None = None
        self.last_failure: float | None = None
        self.attempts = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
        self.failures = {Arm.STABLE: 0, Arm.CANDIDATE: 0}
        self._seen: dict[Arm, set[str]] = {Arm.STABLE: set(), Arm.CANDIDATE: set()}
        self._seen_before: dict[Arm, int] = {}  # conversations, by what a take-over has restored
        self._step_began: float | None = None
        self._step: set[str] = set()
        self._step_before = 0
        self.shared_host = False
        self._reached: dict[str, float] = {}

    # what happens ------------------------------------------------------------------------------

    def follow(self, rollout: Rollout) -> None:
        """Follow the rollout from step to step; a new one begins with no conversations."""
        if rollout.step_began != self._step_began:
            self._step_began = rollout.step_began
            self._step, self._step_before = set(), 0

    def add(self, attempt: Attempt, *, evidence: bool = True) -> None:
        """Take in an attempt.

        Args:
            attempt: an attempt of the service.
            evidence: whether the evidence has not seen it yet: after a take-over it has seen, and
                the counts hold, what the windows have not.
        """
        arm = attempt.arm
        if arm is None or self._names[arm] not in (attempt.release, None):
            return
        if attempt.at < self._began:
            if evidence:
                self.evidence.learn(attempt)
            return
        if attempt.outcome is not Outcome.WAITING:
            if evidence and attempt.judged:
                self._count(attempt, arm)
            self._show(attempt, arm)
        if evidence:  # last, so that a fault in it leaves the limits their figures
            self.evidence.add(attempt)

    def _count(self, attempt: Attempt, arm: Arm) -> None:
        self.attempts[arm] += 1
        self.failures[arm] += attempt.failed
        # Who took over knows how many came before, not which: those that go on are among them.
        begins = attempt.first_turn or arm not in self._seen_before
        if begins and attempt.conversation and len(self._seen[arm]) < COUNTED:
            self._seen[arm].add(attempt.conversation)

    def _show(self, attempt: Attempt, arm: Arm) -> None:
        """Put an attempt into the windows, and note when the candidate was heard of."""
        if arm is Arm.CANDIDATE or attempt.evidence:
            for window in self._windows[arm].values():
                window.add(attempt)
        if arm is Arm.CANDIDATE:
            self._of_candidate(attempt)

    def _of_candidate(self, attempt: Attempt) -> None:
        if attempt.outcome is not Outcome.DOWN:  # which is no attempt
            self.last_candidate = max(self.last_candidate or 0.0, attempt.at)
        if attempt.failed:
            self.first_failure = self.first_failure or attempt.at
            self.last_failure = attempt.at
        if (attempt.judged and attempt.conversation and self._step_began is not None
                and attempt.at >= self._step_began and len(self._step) < COUNTED):
            self._step.add(attempt.conversation)

    def compare_loads(self, candidate: float, stable: float, *, shared_host: bool) -> None:
        """Take note of the load per capacity of both arms, in the same unit.

        Latencies speak against the candidate unless it bears more than :data:`COMPARABLE` times
        stable's load, and for it unless it bears less than that part of it. A shared host never
        excuses.
        """
        self.shared_host = shared_host
        self.evidence.comparable = shared_host or candidate <= COMPARABLE * stable
        self.evidence.provable = stable <= COMPARABLE * candidate

    def pass_time(self, now: float) -> None:
        """Let the clock pass."""
        self.evidence.pass_time(now)
        for windows in self._windows.values():
            for window in windows.values():
                window.forget(now)

    # what it says ------------------------------------------------------------------------------

    @property
    def step_conversations(self) -> int:
        """Candidate conversations in this step."""
        return max(len(self._step), self._step_before)

    def conversations(self, arm: Arm) -> int:
        """Conversations of an arm in this rollout."""
        return len(self._seen[arm]) + self._seen_before.get(arm, 0)

    @property
    def alarmed(self) -> bool:
        """Whether evidence has reached a bar: cheap enough to be asked after each attempt."""
        return any(detector.wealth.total >= bar for detector, bar in self._alarms)

    def findings(self, now: float) -> list[Finding]:
        """Judge all guardrails, none left out."""
        return [self._finding(guardrail, now) for guardrail in self._policy.guardrails]

    def _finding(self, guardrail: Guardrail, now: float) -> Finding:
        test = self._test(guardrail)
        if guardrail.rule is Rule.EVIDENCE:
            assert test is not None, "a policy has no evidence on what no conversation has"
            bar = self._bars[guardrail.name]
            if test.wealth < bar:
                self._reached.pop(guardrail.name, None)
                reached = now
            else:
                reached = self._reached.setdefault(guardrail.name, now)
            return judge_evidence(
                guardrail, self.evidence, test, bar=bar, now=now, reached=reached,
                candidate=self._windows[Arm.CANDIDATE][RECENT],
                stable=self._windows[Arm.STABLE][RECENT],
                proof=self._test(guardrail, against=True),
            )
        wealth = test.wealth if test is not None else None
        if guardrail.max_burn_rate is not None:
            return judge_burn_rate(guardrail, self._arms(guardrail.seconds, wealth),
                                   self._arms(guardrail.short, wealth))
        return judge(guardrail, self._arms(guardrail.seconds, wealth))

    def _test(self, guardrail: Guardrail, *, against: bool = False) -> SequentialTest | None:
        question = question_of(guardrail, against=against)
        return self.evidence.tests.get(question) if question is not None else None

    def _arms(self, span: float, wealth: float | None) -> Arms:
        return Arms(self._windows[Arm.CANDIDATE][span], self._windows[Arm.STABLE][span],
                    self._baseline, wealth, self.shared_host, self.evidence.comparable)

    def unproven(self, rollout: Rollout) -> str:
        """Return why the rollout must not grow although nothing is broken; "" when it may."""
        if self.evidence.sample_ratio.broken:
            return self.evidence.sample_ratio.sentence
        if not rollout.current_step.require:
            return ""
        missing = []
        for guardrail in with_evidence(self._policy.guardrails):
            proof = self._test(guardrail, against=True)
            if guardrail.dry_run or proof is None or proof.wealth >= PROVEN:
                continue
            if guardrail.metric.measure in LATENCIES and not self.evidence.provable:
                continue  # it bears far less load than stable: that it is as fast proves nothing
            # Where nobody measures it (no streams, no scores) there is nothing to wait for.
            if any(proof.units) or guardrail.metric.measure is Measure.ERRORS:
                missing.append(f"{guardrail.name} (evidence {proof.wealth:.2g} of {PROVEN:g})")
        return f"not yet proven no worse: {', '.join(missing)}" if missing else ""

    def verdict(self, service: Service, now: float, *, over: bool, waiting: str) -> Verdict | None:
        """Return the verdict, None where nothing is judged.

        Args:
            service: the service.
            now: unix time.
            over: whether soak and minimum of the step are reached.
            waiting: what is waited for if not, in words.
        """
        rollout = service.rollout
        if rollout is None or service.phase not in ROLLOUT_RUNS:
            return None
        unproven = self.unproven(rollout) if service.phase is Phase.CANARY else ""
        found = weigh(self.findings(now), step_over=over, holding=waiting, unproven=unproven,
                      tolerated=rollout.tolerated)
        return replace(found, split=self.evidence.split)

    # a take-over -------------------------------------------------------------------------------

    def handed_over(self, service: Service) -> list[str] | None:
        """Return the step's conversations while they are few and lack its minimum."""
        if service.rollout is None or service.phase not in (Phase.CANARY, Phase.PAUSED):
            return None
        lacking = len(self._step) < service.rollout.current_step.min_conversations
        return sorted(self._step) if lacking and len(self._step) <= HANDED_OVER else None

    def to_document(self) -> dict[str, Any]:
        """Return the evidence and the counts as JSON."""
        counts = {arm.value: [self.attempts[arm], self.failures[arm], self.conversations(arm)]
                  for arm in Arm}
        return {**self.evidence.to_document(), "counts": counts}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on with evidence and counts where :meth:`to_document` was made.

        Raises:
            ValueError, KeyError, TypeError: when it is not of this policy.
        """
        counts = {arm: tuple(map(int, document["counts"][arm.value])) for arm in Arm}
        self.evidence.restore(document)
        for arm, (attempts, failures, conversations) in counts.items():
            self.attempts[arm], self.failures[arm] = attempts, failures
            if conversations:
                self._seen_before[arm] = conversations

    def forget_evidence(self) -> None:
        """Begin the evidence anew."""
        self.evidence = evidence_for(self._policy)
        self._alarms = [(detector, self._bars[guardrail.name])
                        for guardrail in with_evidence(self._policy.guardrails)
                        if (test := self._test(guardrail)) is not None
                        for detector in test.detectors]

    def remember(self, published: dict[str, Any]) -> None:
        """Go on where an earlier controller stood, by what it has published."""
        self.last_candidate = published.get("last_candidate")
        if published.get("step_began") == self._step_began:
            self._step = set(published.get("step_seen") or ())
            self._step_before = int(published.get("step_conversations") or 0)
