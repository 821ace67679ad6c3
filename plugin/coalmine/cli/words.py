"""A service in one sentence, as commands and log lines say it."""

from __future__ import annotations

from coalmine.cli.client import Json
from coalmine.cli.figures import NONE, number, percent
from coalmine.cli.text import one_line


def word(found: Json, key: str) -> str:
    """Return a field as one line, a dash for null."""
    value = found.get(key)
    return NONE if value is None or value == "" else one_line(value)


def sentence(service: Json) -> str:
    """Return where a service stands, in one sentence."""
    parts = [f"{word(service, 'service')} is {word(service, 'phase')}"]
    if service.get("step") is not None:
        parts.append(f"step {word(service, 'step')} of {word(service, 'steps')}")
    if service.get("candidate") and number(service.get("weight")):
        parts.append(
            f"{percent(service['weight'])} of new conversations to {word(service, 'candidate')}"
        )
    else:
        parts.append(f"all new conversations on {word(service, 'stable')}")
    if service.get("waiting"):
        parts.append(f"waiting for {word(service, 'waiting')}")
    return f"{', '.join(parts)} (epoch {word(service, 'epoch')})"


def sentences(found: Json) -> list[str]:
    """Return a sentence for what is wrong with the policy, and one for each service."""
    policy = found.get("policy")
    wrong = [f"{word(policy, 'message')} ({word(policy, 'hint')})"] if policy else []
    return wrong + [sentence(service) for service in found.get("services", [found])]


def outcome(after: Json) -> str:
    """Return what a command led to."""
    said = ("nothing changed: " if after.get("changed") is False else "") + sentence(after)
    return f"{said}\nnote: {word(after, 'note')}" if after.get("note") else said
