"""Mending the state: what a worker tells a state that knows less than the worker does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from coalmine.control.log_entry import entry_of
from coalmine.gateway.in_force import Rules
from coalmine.rollout import events as ev
from coalmine.rollout.precedence import is_overruled
from coalmine.rollout.service import Service, first_state
from coalmine.rollout.transitions import Refused, apply
from coalmine.state import Entry, State

log = logging.getLogger("coalmine.mend")


def give_birth(state: State, found: dict[str, Service], rules: Rules,
               seen: Callable[[str], Service | None], now: float) -> None:
    """Put services there that the policy names and the state does not know; also into `found`.

    `seen` returns a service as this host knows it, so that one that was lost comes back as it was.
    """
    for name, of in rules.items():
        if name in found:
            continue
        known = seen(name)
        service = known or first_state(name, of, now)
        entry = Entry(at=now, service=name, who="coalmine", action="born",
                      reason="first seen in the policy" if known is None
                      else "the state had lost it", after={"stable": service.stable})
        if state.swap(None, service, entry):
            found[name] = service
        else:
            found.update(state.load())


def reseed(state: State, service: Service, now: float) -> None:
    """Put back a service of which the state has lost writes."""
    entry = Entry(at=now, service=service.name, who="coalmine", action="reseed",
                  reason=f"the state came back without epoch {service.epoch}",
                  after={"epoch": service.epoch, "phase": service.phase.value})
    if state.reseed(service, entry):
        log.warning("%s: the state had lost writes, epoch %d was put back", service.name,
                    service.epoch)


def write_rollback(state: State, theirs: Service, rolled_back: Service, entry: Entry) -> bool:
    """Write a rollback that was applied before; say whether nothing is left to do about it.

    It is applied to the service as the state has it, not put in its place.
    """
    if rolled_back.rollout is None or rolled_back.rollout.back is None:
        return False
    if not is_overruled(theirs, rolled_back):
        return True
    event = ev.RollBack(at=entry.at, who=entry.who, reason=entry.reason,
                        trigger=rolled_back.rollout.back.trigger, to=rolled_back.stable)
    try:
        after = apply(theirs, event)
    except Refused as refused:
        log.error("%s: its rollback cannot be written: %s", theirs.name, refused)
        return True
    return state.swap(theirs, after, entry_of(theirs, after, event, entry.figures))
