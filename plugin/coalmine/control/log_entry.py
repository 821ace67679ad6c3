"""The log's line for a change."""

from __future__ import annotations

from typing import Any

from coalmine.rollout import events as ev
from coalmine.rollout.service import Service
from coalmine.state import Entry

ACTIONS: dict[type[ev.Event], str] = {
    ev.Start: "start",
    ev.StepOver: "step",
    ev.Promote: "promote",
    ev.Halt: "pause",
    ev.Resume: "resume",
    ev.RollBack: "rollback",
    ev.Drained: "drained",
    ev.BakeOver: "promoted",
    ev.Register: "register",
}


def standing(service: Service) -> dict[str, Any]:
    """Return where a service stands, in a line of the log."""
    rollout = service.rollout
    return {
        "epoch": service.epoch,
        "phase": service.phase.value,
        "stable": service.stable,
        "candidate": service.candidate,
        "weight": service.weight,
        "step": rollout.step if rollout else None,
        "rollout": rollout.id if rollout else None,
        "policy_digest": rollout.policy_digest if rollout else None,
    }


def entry_of(before: Service, after: Service, event: ev.Event,
             figures: dict[str, Any] | None = None) -> Entry:
    """Return the log's line for `event`, which led from `before` to `after`."""
    return Entry(
        at=event.at,
        service=before.name,
        who=event.who,
        action=ACTIONS[type(event)],
        reason=event.reason or after.reason,
        before=standing(before),
        after=standing(after),
        figures=figures or {},
    )
