"""What a service does by itself: from its state, the verdict and what is observed to an event.

Pure, and the only place that knows which observation matters in which phase; the controller's loop
asks it and writes what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from coalmine.guardrails import Decide, Verdict
from coalmine.guardrails.durations import in_words
from coalmine.rollout import events as ev
from coalmine.rollout.service import Rollout, Service
from coalmine.routing import Phase

SELF = "coalmine"
"""Who acts when nobody asked."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the controller sees of a service.

    Attributes:
        now: unix time.
        verdict: the verdict on its guardrails, None where nothing is judged.
        step_conversations: candidate conversations in this step that were judged.
        last_candidate: unix time of the candidate's last attempt, None when there was none; that
            it was down for a request is none.
        in_flight: requests open on the candidate, by worker.
        behind: workers that do not apply the service's epoch yet.
        unwatched: seconds that the step's (or the bake's) clock ran while nobody judged.
    """

    now: float
    verdict: Verdict | None = None
    step_conversations: int = 0
    last_candidate: float | None = None
    in_flight: dict[str, int] = field(default_factory=dict)
    behind: tuple[str, ...] = ()
    unwatched: float = 0.0


PROVEN_TOO = "soak and minimum reached, and proven no worse"
"""Why a step ended that requires evidence."""


def step_over(service: Service, now: float, conversations: int, unwatched: float = 0.0
              ) -> tuple[bool, str]:
    """Return whether the step has soaked and has its minimum, and what is waited for if not.

    Args:
        service: the service.
        now: unix time.
        conversations: candidate conversations in this step that were judged.
        unwatched: seconds that the step's clock ran while nobody judged: they are no soak.
    """
    rollout = service.rollout
    if rollout is None or service.phase is not Phase.CANARY:
        return False, service.reason
    if rollout.waiting:
        return False, f"step {rollout.step} awaits approval"
    step = rollout.current_step
    left = step.soak - (rollout.soak(now) - unwatched)
    if left > 0:
        return False, f"step {rollout.step} soaks for {in_words(math.ceil(left))} more"
    needed = max(1, step.min_conversations)  # what nobody has used is never promoted
    if conversations < needed:
        return False, (
            f"step {rollout.step} has {conversations} of {needed} candidate conversations"
        )
    return True, "soak and minimum reached"


def next_event(service: Service, observed: Observed) -> ev.Event | None:
    """Return the event that is due, None when nothing is."""
    rollout = service.rollout
    due = _DUE.get(service.phase)
    return due(service, rollout, observed) if due is not None and rollout is not None else None


def _broken(service: Service, observed: Observed) -> ev.Event | None:
    """A guardrail that is broken: rolls back, or pauses what runs."""
    verdict = observed.verdict
    if verdict is None or verdict.worst is None:
        return None
    guardrail = verdict.worst.guardrail
    if verdict.decision is Decide.ROLLBACK:
        return ev.RollBack(
            at=observed.now, who=f"guardrail {guardrail.name}", reason=verdict.reason,
            trigger="guardrail", severity=guardrail.severity,
        )
    lone = verdict.worst.lone_caller is not None
    if verdict.decision is Decide.PAUSE and not _paused_for_it(service, lone=lone):
        return ev.Halt(
            at=observed.now, who=f"guardrail {guardrail.name}", reason=verdict.reason,
            by="guardrail", timebox=None if lone else guardrail.timebox, guardrail=guardrail.name,
        )
    return None


def _paused_for_it(service: Service, *, lone: bool) -> bool:
    """Whether a pause holds already. One that nobody asked for and that would last for ever, as
    nobody called or only one did, does not for a breach that must not."""
    pause = service.rollout.pause if service.rollout is not None else None
    if service.phase is not Phase.PAUSED or pause is None:
        return False
    return lone or pause.by == "person" or pause.timebox is not None


def _silent(rollout: Rollout, observed: Observed) -> ev.Event | None:
    """Nobody has called the candidate for long."""
    running = rollout.step_began if rollout.soaking_from is None else rollout.soaking_from
    since = max(running, observed.last_candidate or 0.0)
    quiet = observed.now - since
    if quiet <= rollout.policy.give_up:
        return None
    return ev.Halt(
        at=observed.now, who=SELF, by="controller", timebox=None,
        reason=f"no attempt on the candidate for {in_words(quiet)}",
    )


def _canary(service: Service, rollout: Rollout, observed: Observed) -> ev.Event | None:
    broken = _broken(service, observed)
    if broken is not None:
        return broken
    over, _ = step_over(service, observed.now, observed.step_conversations, observed.unwatched)
    if over and (observed.verdict is None or observed.verdict.decision is Decide.PROMOTE):
        proven = observed.verdict is not None and rollout.current_step.require is not None
        return ev.StepOver(at=observed.now, who=SELF, reason=PROVEN_TOO if proven else "")
    return _silent(rollout, observed) if rollout.waiting is None else None


def _paused(service: Service, rollout: Rollout, observed: Observed) -> ev.Event | None:
    broken = _broken(service, observed)
    if broken is not None:
        return broken
    pause = rollout.pause
    if pause is None or pause.timebox is None or observed.now - pause.at <= pause.timebox:
        return None
    return ev.RollBack(
        at=observed.now, who=SELF, trigger="timebox",
        reason=f"nobody answered the pause of {pause.who} within {in_words(pause.timebox)}: "
        + service.reason,
    )


def _baking(service: Service, rollout: Rollout, observed: Observed) -> ev.Event | None:
    broken = _broken(service, observed)
    if broken is not None:
        return broken
    if rollout.soak(observed.now) - observed.unwatched < rollout.plan.bake:
        return None
    # What nobody uses any more is not made stable by itself.
    return _silent(rollout, observed) or ev.BakeOver(at=observed.now, who=SELF)


def _rolling_back(service: Service, rollout: Rollout, observed: Observed) -> ev.Event | None:
    back = rollout.back
    if back is None:
        return None
    waited = observed.now - back.at > rollout.policy.drain_timeout
    if not waited and (observed.in_flight or observed.behind):
        return None
    return ev.Drained(
        at=observed.now, who=SELF, leftovers=observed.in_flight,
        reason="nothing runs on the candidate any more" if not observed.in_flight
        else "the drain was given up with requests still running",
    )


_DUE: dict[Phase, Callable[[Service, Rollout, Observed], ev.Event | None]] = {
    Phase.CANARY: _canary,
    Phase.PAUSED: _paused,
    Phase.BAKING: _baking,
    Phase.ROLLING_BACK: _rolling_back,
}
