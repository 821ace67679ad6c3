"""The transition table: (phase, event) → a small function that returns the new state.

What the table does not hold is refused, with the reason. Nothing here knows a clock, a store or
LiteLLM; ``docs/phases.md`` is drawn from this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from coalmine.guardrails.guardrail import Severity
from coalmine.release import CoalmineError, digest
from coalmine.rollout import events as ev
from coalmine.rollout.service import Back, Pause, ReleaseRecord, Rollout, Service
from coalmine.routing import BACK, Phase

E = TypeVar("E", bound=ev.Event)
Move = Callable[[Service, Any], Service]


class Refused(CoalmineError):
    """A command that the service's phase does not allow; nothing was changed."""

    code = "refused"


def apply(service: Service, event: ev.Event) -> Service:
    """Return the state after `event`; the same object when nothing changes.

    Raises:
        Refused: when the phase does not allow it.
    """
    move = TABLE.get((service.phase, type(event)))
    if move is None:
        raise Refused(
            f"{service.name} is {service.phase.value}: {_VERBS[type(event)]} is not possible",
            _HINTS.get(service.phase, ""),
        )
    after = move(service, event)
    if after is service:
        return service
    return after.model_copy(update={"epoch": service.epoch + 1})


_VERBS: dict[type[ev.Event], str] = {
    ev.Start: "start",
    ev.StepOver: "the end of a step",
    ev.Promote: "promote",
    ev.Halt: "pause",
    ev.Resume: "resume",
    ev.RollBack: "rollback",
    ev.Drained: "the end of a drain",
    ev.BakeOver: "the end of a bake",
    ev.Register: "register",
}

_HINTS: dict[Phase, str] = {
    Phase.IDLE: "start a rollout first",
    Phase.CANARY: "a rollout runs: promote, pause or roll it back",
    Phase.PAUSED: "resume it, or roll it back",
    Phase.BAKING: "the candidate bakes: promote ends the bake, rollback goes back",
    Phase.ROLLING_BACK: "it is on its way back; wait until it is rolled_back",
    Phase.ROLLED_BACK: "it is back on stable for good; start a new rollout",
}


def _with(service: Service, rollout: Rollout | None, **changes: Any) -> Service:
    return service.model_copy(update={"rollout": rollout, **changes})


def _running(service: Service) -> Rollout:
    assert service.rollout is not None, f"{service.phase} without a rollout"
    return service.rollout


def _start(service: Service, event: ev.Start) -> Service:
    record = service.releases.get(event.release)
    if record is None:
        raise Refused(
            f"release {event.release!r} of {service.name} is not known",
            f"known are {', '.join(sorted(service.releases))}; add it to the policy or register it",
        )
    if event.release == service.stable:
        raise Refused(f"{event.release} is already the stable release of {service.name}")
    if record.slot is service.releases[service.stable].slot:
        raise Refused(
            f"{event.release} is in slot {record.slot.value}, where stable {service.stable} serves",
            f"stage it in slot {record.slot.other.value}",
        )
    number = service.rollouts + 1
    step = event.policy.rollout.steps[0]
    rollout = Rollout(
        id=f"{service.name}-{number}",
        policy=event.policy,
        policy_digest=digest(event.policy.model_dump(mode="json", by_alias=True)),
        began=event.at,
        # What is not a number cannot be written as JSON, and the state could not be read again.
        baseline={name: x for name, x in event.baseline.items() if math.isfinite(x)},
        step_began=event.at,
        soaking_from=event.at,
        changes=(step.weight,),
    )
    return _with(
        service,
        rollout,
        phase=Phase.CANARY,
        since=event.at,
        reason=event.reason or f"started by {event.who}",
        candidate=event.release,
        eras=service.new_era(service.stable, event.release),
        rollouts=number,
    )


def _weight(rollout: Rollout, weight: float) -> tuple[float, ...]:
    """The weight changes with `weight` in force. A plan has at most 40 steps, so a pin's number
    of the change (below 100) cannot overflow."""
    if rollout.changes[-1] == weight:
        return rollout.changes
    return (*rollout.changes, weight)


def _to_step(service: Service, event: ev.Event, number: int) -> Service:
    rollout = _running(service)
    step = rollout.plan.steps[number - 1]
    return _with(
        service,
        rollout.model_copy(
            update={
                "step": number,
                "step_began": event.at,
                "soaked": 0.0,
                "soaking_from": event.at,
                "changes": _weight(rollout, step.weight),
                "waiting": None,
            }
        ),
        reason=event.reason or _moved_on(event, "soak and minimum reached"),
    )


def _moved_on(event: ev.Event, by_itself: str) -> str:
    """Return why a rollout went on when nobody said it: a person wanted it, or it was due."""
    return f"promoted by {event.who}" if isinstance(event, ev.Promote) else by_itself


def _to_bake(service: Service, event: ev.Event) -> Service:
    rollout = _running(service)
    return _with(
        service,
        rollout.model_copy(
            update={
                "step_began": event.at,
                "soaked": 0.0,
                "soaking_from": event.at,
                "changes": _weight(rollout, 100.0 - rollout.plan.holdback),
                "waiting": None,
            }
        ),
        phase=Phase.BAKING,
        since=event.at,
        reason=event.reason or _moved_on(event, "all steps are over"),
    )


def _next(service: Service, event: ev.Event) -> Service:
    rollout = _running(service)
    if rollout.step < len(rollout.plan.steps):
        return _to_step(service, event, rollout.step + 1)
    return _to_bake(service, event)


def _step_over(service: Service, event: ev.StepOver) -> Service:
    rollout = _running(service)
    if rollout.waiting:
        return service
    if rollout.current_step.approve:
        waiting = rollout.model_copy(update={"waiting": "approval"})
        return _with(service, waiting, reason=f"step {rollout.step} is over and awaits approval")
    return _next(service, event)


def _promote(service: Service, event: ev.Promote) -> Service:
    rollout = _running(service)
    last = len(rollout.plan.steps)
    if event.full and rollout.step < last:
        return _to_step(service, event, last)
    return _next(service, event)


def _promoted(service: Service, event: ev.Event) -> Service:
    candidate = service.candidate
    assert candidate is not None
    return _with(
        service,
        None,
        phase=Phase.IDLE,
        since=event.at,
        reason=event.reason or _moved_on(event, f"{candidate} was promoted at the end of the bake"),
        stable=candidate,
        previous=service.stable,
        candidate=None,
        eras=service.new_era(candidate, None),
    )


def _halt(service: Service, event: ev.Halt) -> Service:
    rollout = _running(service)
    timebox = event.timebox if event.by in ("guardrail", "alert") else None
    pause = Pause(by=event.by, who=event.who, at=event.at, timebox=timebox, resumes=service.phase,
                  guardrail=event.guardrail)
    return _with(
        service,
        rollout.model_copy(
            update={"pause": pause, "soaked": rollout.soak(event.at), "soaking_from": None}
        ),
        phase=Phase.PAUSED,
        since=event.at,
        reason=event.reason or f"paused by {event.who}",
    )


def _halt_again(service: Service, event: ev.Halt) -> Service:
    """A person's pause of a paused rollout takes its timebox away; a guardrail's gives one to a
    pause that nobody asked for and that has none. All else changes nothing."""
    rollout = _running(service)
    before = rollout.pause
    assert before is not None
    if before.by == "person":
        return service
    if event.by == "person":
        pause = before.model_copy(update={"by": "person", "who": event.who, "timebox": None})
        reason = event.reason or f"held by {event.who}: {service.reason}"
    elif event.by == "guardrail" and before.timebox is None and event.timebox is not None:
        pause = before.model_copy(update={"by": "guardrail", "who": event.who, "at": event.at,
                                          "timebox": event.timebox, "guardrail": event.guardrail})
        reason = event.reason or f"paused by {event.who}"
    else:
        return service
    return _with(service, rollout.model_copy(update={"pause": pause}), reason=reason)


def _resume(service: Service, event: ev.Resume) -> Service:
    rollout = _running(service)
    pause = rollout.pause
    assert pause is not None
    tolerated = rollout.tolerated
    if pause.guardrail is not None and pause.guardrail not in tolerated:
        tolerated = (*tolerated, pause.guardrail)
    return _with(
        service,
        rollout.model_copy(
            update={"pause": None, "soaking_from": event.at, "tolerated": tolerated}),
        phase=pause.resumes,
        since=event.at,
        reason=event.reason or f"resumed by {event.who}",
    )


def _roll_back(service: Service, event: ev.RollBack) -> Service:
    rollout = _running(service)
    if event.to not in (None, service.stable):
        raise Refused(
            f"{service.name} rolls back to its stable release {service.stable}, not to {event.to}",
            "leave `to` (--to) out; it chooses a release when the service is idle",
        )
    mild = event.trigger == "manual" or event.severity is Severity.MILD
    back = Back(
        at=event.at,
        trigger=event.trigger,
        finish=mild and rollout.policy.sessions.on_rollback == "finish",
    )
    return _with(
        service,
        rollout.model_copy(
            update={
                "back": back,
                "pause": None,
                "waiting": None,
                "soaked": rollout.soak(event.at),
                "soaking_from": None,
            }
        ),
        phase=Phase.ROLLING_BACK,
        since=event.at,
        reason=event.reason or f"rolled back by {event.who}",
    )


def _already_back(service: Service, event: ev.RollBack) -> Service:
    """A second rollback changes nothing, and is not an error."""
    if event.to not in (None, service.stable):
        raise Refused(f"{service.name} is already back on {service.stable}, not on {event.to}")
    return service


def _back_to_previous(service: Service, event: ev.RollBack) -> Service:
    """Go back from idle. Asked again, for a repeated alert or a lost answer, it changes nothing:
    it must never go on to the release that it has just left."""
    target = event.to or service.previous
    if target is None:
        if len(service.eras) > 1 and service.eras[-2].candidate is None:
            return service
        raise Refused(
            f"{service.name} is idle and has no previous release to go back to",
            "name one that still runs: `to`, on the command line --to",
        )
    if target == service.stable:
        return service
    record = service.releases.get(target)
    if record is None:
        raise Refused(f"release {target!r} of {service.name} is not known",
                      f"known are {', '.join(sorted(service.releases))}")
    if record.slot is service.releases[service.stable].slot:
        raise Refused(
            f"{target} ran in slot {record.slot.value}, which {service.stable} has taken since",
            f"stage it in slot {record.slot.other.value} first",
        )
    return _with(
        service,
        None,
        phase=Phase.IDLE,
        since=event.at,
        reason=event.reason or f"back to {target} by {event.who}",
        stable=target,
        previous=None if target == service.previous else service.stable,
        candidate=None,
        eras=service.new_era(target, None),
    )


def _drained(service: Service, event: ev.Drained) -> Service:
    rollout = _running(service)
    assert rollout.back is not None
    back = rollout.back.model_copy(update={"drained": event.at, "leftovers": event.leftovers})
    return _with(
        service,
        rollout.model_copy(update={"back": back}),
        phase=Phase.ROLLED_BACK,
        since=event.at,
    )


def _register(service: Service, event: ev.Register) -> Service:
    record = ReleaseRecord(slot=event.slot, digest=event.digest)
    if service.releases.get(event.release) == record:
        return service
    serving = {name: service.releases[name].slot for name in service.serving()
               if name in service.releases}
    if event.release in serving:
        raise Refused(
            f"{event.release} serves in slot {serving[event.release].value}; "
            "a release is immutable",
            "give the new bundle a name of its own",
        )
    active = {service.stable, service.candidate if service.phase not in BACK else None}
    for name, slot in serving.items():
        if slot is event.slot and name in active:
            raise Refused(
                f"slot {event.slot.value} of {service.name} serves {name}",
                f"stage {event.release} in slot {event.slot.other.value}",
            )
    # What ran in the slot before is gone from it, and cannot be gone back to.
    kept = {name: known for name, known in service.releases.items()
            if known.slot is not event.slot or name in active}
    return service.model_copy(
        update={
            "releases": {**kept, event.release: record},
            "previous": service.previous if service.previous in kept else None,
        }
    )


TABLE: dict[tuple[Phase, type[ev.Event]], Move] = {
    (Phase.IDLE, ev.Start): _start,
    (Phase.IDLE, ev.RollBack): _back_to_previous,
    (Phase.IDLE, ev.Register): _register,
    (Phase.CANARY, ev.StepOver): _step_over,
    (Phase.CANARY, ev.Promote): _promote,
    (Phase.CANARY, ev.Halt): _halt,
    (Phase.CANARY, ev.RollBack): _roll_back,
    (Phase.CANARY, ev.Register): _register,
    (Phase.PAUSED, ev.Halt): _halt_again,
    (Phase.PAUSED, ev.Resume): _resume,
    (Phase.PAUSED, ev.RollBack): _roll_back,
    (Phase.PAUSED, ev.Register): _register,
    (Phase.BAKING, ev.Promote): _promoted,
    (Phase.BAKING, ev.BakeOver): _promoted,
    (Phase.BAKING, ev.Halt): _halt,
    (Phase.BAKING, ev.RollBack): _roll_back,
    (Phase.BAKING, ev.Register): _register,
    (Phase.ROLLING_BACK, ev.RollBack): _already_back,
    (Phase.ROLLING_BACK, ev.Drained): _drained,
    (Phase.ROLLED_BACK, ev.Start): _start,
    (Phase.ROLLED_BACK, ev.RollBack): _already_back,
    (Phase.ROLLED_BACK, ev.Register): _register,
}
