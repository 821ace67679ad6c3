"""Replay: would this policy have stopped that rollout? The events, judged as the controller does.

The recorded draws stay what they were: who got which release, with which chance. The policy under
test says when its steps would have ended, and what its guardrails would have done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from coalmine.guardrails import Attempt, Status, Verdict
from coalmine.record.events import Closed
from coalmine.record.waiting import with_waiting
from coalmine.rollout import events as ev
from coalmine.rollout.advance import Observed, next_event, step_over
from coalmine.rollout.policy import ServicePolicy
from coalmine.rollout.service import ReleaseRecord, Service, first_state
from coalmine.rollout.transitions import apply
from coalmine.rollout.trial import Trial
from coalmine.routing import ROLLOUT_RUNS, Arm, Phase

CANDIDATE = "candidate"
"""The candidate's name where nobody says it."""

LOOK = 5.0
"""Seconds of the events' time between two looks while no evidence has reached its bar."""

AGAIN = 1.0
"""Seconds between two looks while one has, and only a pause came of it."""

GAP, LOOKS = 60.0, 1000
"""Seconds without an event after which it looks all the same, once in as many seconds more, and how
often it does so at most within a gap."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or would have.

    Attributes:
        at: the events' time, seconds.
        what: ``recorded`` (another weight was drawn with), ``start``, ``step``, ``promote``,
            ``pause``, ``rollback``, ``promoted``, ``dry run`` (what a guardrail that never acts
            saw first), ``end`` (of the events, while it would still run).
        weight: percent: the recorded one, or the policy's.
        reason: in words.
        guardrail: the guardrail that decided, None when none did.
        verdict: the verdict behind it, None without one.
    """

    at: float
    what: str
    weight: float
    reason: str
    guardrail: str | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The first decision of a replay.

    Attributes:
        decision: ``rollback``, ``pause``, ``promote`` (past the last step) or ``none``.
        at: the events' time, None when there was none.
        conversations, attempts: the candidate's till then.
        guardrail: the guardrail that decided, None when none did.
    """

    decision: str
    at: float | None
    conversations: int
    attempts: int
    guardrail: str | None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"decision": self.decision, "at": self.at, "conversations": self.conversations,
                "attempts": self.attempts, "guardrail": self.guardrail}


class Replay:
    """A policy and recorded events.

    Args:
        name: the service.
        policy: its policy.
        candidate: the candidate's name, None for whatever the events have on that arm.

    Attributes:
        began: the events' time at which it began, 0 before.
        service: where it would stand, None before.
        trial: the trial so far.
        first: the first decision, None before.
    """

    def __init__(self, name: str, policy: ServicePolicy, candidate: str | None = None) -> None:
        self._name = name
        self._policy = policy
        self._candidate = candidate
        self.began = 0.0
        self.service: Service | None = None
        self.trial: Trial | None = None
        self.first: Decision | None = None
        self._next = self._again = 0.0
        self._drawn: float | None = None
        self._seen_dry: set[str] = set()

    def run(self, events: Iterable[Attempt | Closed]) -> Iterator[Moment]:
        """Yield what happens, in order; ends with the events, or when there is nothing to judge."""
        at = 0.0
        for event in with_waiting(events):
            at = event.at
            trial = self.trial
            if trial is None:
                trial, moment = self._begin(at)
                yield moment
            elif at - self._next > GAP:
                yield from self._pass_gap(at)
                if not self._runs():
                    return
            speaks = False
            if isinstance(event, Closed):
                trial.evidence.close(event.conversation, at)
            else:
                trial.add(event)
                speaks = event.failed and event.arm is Arm.CANDIDATE
                yield from self._recorded(event)
            alarmed = trial.alarmed
            if at >= self._next or (alarmed and (speaks or at >= self._again)):
                self._again = at + AGAIN if alarmed else 0.0
                yield from self._look(at)
                if not self._runs():
                    return
        if self._runs():
            yield from self._look(at)
        if self._runs():
            yield self._end(at)

    def _pass_gap(self, until: float) -> Iterator[Moment]:
        """Look while nobody says anything: pauses, soaks and bakes end then too."""
        step = max(GAP, (until - self._next) / LOOKS)
        while self._runs() and self._next < until:
            now = self._next
            yield from self._look(now)
            self._next = min(until, now + step)

    def _end(self, at: float) -> Moment:
        service, trial = self.service, self.trial
        assert service is not None
        assert trial is not None
        over, waiting = step_over(service, at, trial.step_conversations)
        verdict = trial.verdict(service, at, over=over, waiting=waiting)
        return Moment(at, "end", service.weight, verdict.reason if verdict else service.reason,
                      None, verdict)

    def _runs(self) -> bool:
        return self.service is not None and self.service.phase in ROLLOUT_RUNS

    def result(self) -> Decision:
        """Return the first decision, or that there was none."""
        return self.first or self._decision("none", None, None)

    def _begin(self, at: float) -> tuple[Trial, Moment]:
        policy, candidate = self._policy, self._candidate or CANDIDATE
        first = first_state(self._name, policy, at)
        stable = first.releases[policy.stable]
        # Where it ran is not recorded; a rollout needs two slots.
        releases = {policy.stable: stable, candidate: ReleaseRecord(slot=stable.slot.other)}
        self.service = service = apply(
            first.model_copy(update={"releases": releases}),
            ev.Start(at=at, who="replay", release=candidate, policy=policy))
        assert service.rollout is not None
        self.began = at
        self.trial = trial = Trial(service.rollout, policy.stable, self._candidate)
        trial.follow(service.rollout)
        self._next = at + LOOK
        return trial, Moment(at, "start", service.weight,
                             f"step 1 of {len(policy.rollout.steps)}")

    def _recorded(self, attempt: Attempt) -> Iterator[Moment]:
        """Tell when new conversations began to be drawn with another chance."""
        if attempt.first_turn and attempt.evidence and attempt.chance != self._drawn:
            self._drawn = attempt.chance
            percent = 100.0 * (attempt.chance or 0.0)
            yield Moment(attempt.at, "recorded", percent, f"drawn with {percent:g} %")

    def _look(self, now: float) -> Iterator[Moment]:
        """Judge, and do what is due, as the controller would."""
        assert self.trial is not None
        self._next = now + LOOK
        self.trial.pass_time(now)
        while self._runs():
            service, trial = self.service, self.trial
            assert service is not None
            over, waiting = step_over(service, now, trial.step_conversations)
            verdict = trial.verdict(service, now, over=over, waiting=waiting)
            yield from self._dry(now, service, verdict)
            event = next_event(service, Observed(
                now=now, verdict=verdict, step_conversations=trial.step_conversations,
                last_candidate=trial.last_candidate))
            after = apply(service, event) if event is not None else service
            if event is None or after is service:
                return
            self.service = after
            if after.rollout is not None:
                trial.follow(after.rollout)
            yield self._moment(now, service, after, event, verdict)

    def _dry(self, now: float, service: Service, verdict: Verdict | None) -> Iterator[Moment]:
        """Tell when a guardrail that never acts sees a breach for the first time."""
        for finding in verdict.findings if verdict else ():
            name = finding.guardrail.name
            if (finding.guardrail.dry_run and finding.status is Status.BREACH
                    and name not in self._seen_dry):
                self._seen_dry.add(name)
                yield Moment(now, "dry run", service.weight, finding.sentence, name, verdict)

    def _moment(self, now: float, before: Service, after: Service, event: ev.Event,
                verdict: Verdict | None) -> Moment:
        guardrail = None
        if isinstance(event, (ev.RollBack, ev.Halt)) and verdict is not None and verdict.worst:
            guardrail = verdict.worst.guardrail.name
        what = _WHAT.get(after.phase, "step")
        if what == "step" and after.rollout is not None and after.rollout.waiting:
            what = "approval"
        if what in ("rollback", "pause", "promote") and self.first is None:
            self.first = self._decision(what, now, guardrail)
        return Moment(now, what, after.weight, after.reason, guardrail, verdict)

    def _decision(self, what: str, at: float | None, guardrail: str | None) -> Decision:
        trial = self.trial
        return Decision(
            what, at, trial.conversations(Arm.CANDIDATE) if trial else 0,
            trial.attempts[Arm.CANDIDATE] if trial else 0, guardrail)


_WHAT = {
    Phase.BAKING: "promote",
    Phase.PAUSED: "pause",
    Phase.ROLLING_BACK: "rollback",
    Phase.IDLE: "promoted",
}
