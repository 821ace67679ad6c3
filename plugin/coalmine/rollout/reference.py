"""The reference of the policy and of the phases, drawn from the code.

``python -m coalmine.rollout.reference docs/`` writes ``policy.md``, ``policy.schema.json`` and
``phases.md``; a test fails when they are stale.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from coalmine.guardrails.durations import parse_duration
from coalmine.guardrails.guardrail import DEFAULT_GUARDRAILS, Guardrail, Metric
from coalmine.release import Slot
from coalmine.rollout import events as ev
from coalmine.rollout.annotations import inner, key_of
from coalmine.rollout.policy import (
    Operator,
    Policy,
    ReleaseEntry,
    RolloutPlan,
    ServicePolicy,
    Sessions,
    Step,
)
from coalmine.rollout.service import Service, first_state
from coalmine.rollout.transitions import TABLE, Refused, apply
from coalmine.routing import Phase

EXAMPLE = """\
state: sqlite:///coalmine.db            # one host; or redis://…, rediss://…, or os.environ/NAME
metrics_token: os.environ/COALMINE_METRICS_TOKEN
operators:                              # beside LiteLLM's proxy admins
  - name: oncall                        # printf %s "$TOKEN" | sha256sum
    token_sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    may: [read, pause, rollback]
services:
  chat:                                 # the model group that clients call
    releases:
      v1: {slot: blue}
      v2: {slot: green}
    stable: v1                          # the first time; afterwards the state is the truth
    sessions:
      headers: [x-coalmine-session, x-openwebui-chat-id]
      ttl: 24h
      on_rollback: move
    rollout:
      steps:
        - {weight: 1, for: 10m, min_conversations: 100}
        - {weight: 5, for: 30m}
        - {weight: 25, for: 1h, approve: true}    # waits for `coalmine promote chat`
        - {weight: 100}                           # all new conversations
      bake: 24h                         # the old release stays warm
      holdback: 2                       # percent of the new ones that it keeps meanwhile
    guardrails:                         # with good defaults when left out
      - {name: errors, metric: error_rate, max_ratio: 2, for: 2m, action: rollback, alone: true}
      - {name: hard-errors, metric: error_rate, max: 0.05, for: 3m, action: rollback}
      - {name: ttft-p99, metric: ttft_p99, slo: 800ms, max_slo_ratio: 2, for: 5m, action: rollback}
      - {name: ttft-p95, metric: ttft_p95, max_increase: 0.3, for: 5m, action: pause}
    response_headers: off               # all | admin | off; no quotes needed
"""
"""A policy with what most teams write; the tests read it."""

SMALL = """\
guardrails:
  - {name: errors, metric: error_rate, max_ratio: 2, for: 10m, alone: true, min_conversations: 8}
  - {name: hard-errors, metric: error_rate, max: 0.1, for: 10m, min_conversations: 5}
  - {name: request-p95, metric: request_p95, max_increase: 0.5, for: 30m, action: pause,
     min_conversations: 10}
"""
"""Guardrails for a service with few conversations; the tests read them too."""

STEPS = """\
## How a step ends

A step is over when its `for` has passed (time in a pause does not count), it has had its
`min_conversations` of the candidate, **one at least** whatever is written, and of the guardrails
that act (`dry_run` ones do not) one has data, if there is any, and none is broken. With
`approve: true` it then waits for `coalmine promote`, without time limit. So a last step
`{weight: 100}` without `for` goes straight on to the bake, as soon as one conversation of the
candidate has been answered in it.

`coalmine promote` goes to the next step at once, from the last one to the bake, and ends the
bake; with `--full` it goes to the last step. It passes over what the step waits for: `for`,
`min_conversations`, `approve`, guardrails without data, and in the bake what is left of `bake`.
It does not pass over guardrails: they judge on, and a breach pauses or rolls back as ever. In a
pause it is refused; `resume` comes first.

`coalmine pause` keeps the weight: the candidate goes on getting that share of new conversations.
`for` (or `bake`) stands still, guardrails and `rollback` act. To take the candidate away is a
rollback.
"""
"""What ends a step, and what people can do about it; the tests hold it to the code."""

LIMITS = """\
## Where a limit comes from

`max` and `min` are limits as they are written, and `slo` times `max_slo_ratio` is one. The others
are made of stable's figure, times `max_ratio`, `min_ratio` or 1 + `max_increase`. That figure
is taken over the same window, of conversations on stable that could have been drawn to the
candidate. With fewer than 10 attempts of theirs it is the baseline, stable's last 15 minutes
before the start, if that has at least 10.

Stable's share (`error_rate`, `timeout_rate`, `availability`) counts as **no better than one
failure in as many attempts as the smaller of both sides has**. Else twice an errorless stable
would be 0, and the candidate's first error the end of it. So a limit can look high while there is
little to judge: `coalmine status` says `15.4 %`, and beside it `stable 0 %, as 1 failure in 13`.

An example, with `max_ratio: 2`. In the window stable has 400 attempts without a failure and the
candidate 13, of which 2 failed. One failure in 13 is 7.7 %, and twice that is the limit, 15.4 %.
2 of 13 are 15.4 % too, which is not more: it holds. With a third failure (3 of 13, 23.1 %) it
breaks. As the candidate's attempts grow the limit falls: 4 % with 50 of them, 0.5 % with 400 and
more. Where stable's own share is the larger it counts: had 8 of its 400 failed (2 %), the limit
would be 4 % from 50 attempts of the candidate on.
"""
"""How a relative limit comes about; the tests calculate the example."""

_MODELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", Policy),
    ("operators[]", Operator),
    ("services.NAME", ServicePolicy),
    ("services.NAME.releases.NAME", ReleaseEntry),
    ("services.NAME.sessions", Sessions),
    ("services.NAME.rollout", RolloutPlan),
    ("services.NAME.rollout.steps[]", Step),
    ("services.NAME.guardrails[]", Guardrail),
)

_GENERATED = "<!-- Generated by `python -m coalmine.rollout.reference docs/`; do not edit. -->\n"


def policy_page() -> str:
    """Return ``docs/policy.md``."""
    parts = [
        _GENERATED,
        "# The policy file\n",
        (
            "What `coalmine.yaml` may hold. An unknown key, a value that cannot be, a name that "
            "stands nowhere: all are told at once, with file, line and field, and the policy in "
            "force goes on. A change of the file is for the next rollout; one that runs keeps its "
            "policy.\n"
        ),
        (
            "Durations are written `800ms`, `30s`, `10m`, `1h30m`, `24h`, or as a number of "
            "seconds. Secrets are never written in clear: `os.environ/NAME` names the environment "
            "variable. `coalmine lint FILE` reads a file and adds what is legal but doubtful.\n"
        ),
        f"## Example\n\n```yaml\n{EXAMPLE}```\n",
        "## Keys\n",
        *(_table(title, model) for title, model in _MODELS),
        STEPS,
        "## Metrics\n\nRates are shares (0 to 1), latencies seconds in limits and durations in "
        "`slo`.\n\n" + ", ".join(f"`{metric.value}`" for metric in Metric) + "\n",
        (
            "`ttft_*` and `inter_token_*` need streamed requests: an answer that comes whole has "
            "no first token to time. Where clients do not stream, these guardrails find no data, "
            "and `request_*` is what there is to judge.\n"
        ),
        LIMITS,
        "## Default guardrails\n\nA service that names none has these:\n\n```yaml\nguardrails:\n"
        + "".join(f"  - {_flow(guardrail)}\n" for guardrail in DEFAULT_GUARDRAILS)
        + "```\n",
        (
            "Each wants 30 conversations of the candidate within its window, and holds with fewer: "
            "at a weight of 1 % that takes some 3000 active ones in two minutes. A step does not "
            "end while no guardrail has data. A smaller service writes guardrails of its own, with "
            "a lower `min_conversations` and a longer `for`, and begins with a larger weight:\n"
        ),
        f"```yaml\n{SMALL}```\n",
    ]
    return "\n".join(parts)


def policy_schema() -> str:
    """Return ``docs/policy.schema.json``, for editors that complete and check YAML."""
    schema = Policy.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def phases_page() -> str:
    """Return ``docs/phases.md``: the diagram and the table of all transitions."""
    reached = edges()
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), results in reached.items():
        for result in results:
            arrows.setdefault((phase, result), []).append(event)
    diagram = ["stateDiagram-v2", "    [*] --> idle"]
    diagram += [
        f"    {before.value} --> {after.value}: {', '.join(names)}"
        for (before, after), names in arrows.items()
    ]
    meanings = {event.__name__: _first_sentence(event) for event in _EVENTS}
    rows = [
        f"| `{phase.value}` | {event} | {meanings[event]} | "
        f"{', '.join(f'`{result.value}`' for result in results)} |"
        for (phase, event), results in reached.items()
    ]
    return "\n".join(
        [
            _GENERATED,
            "# Phases\n",
            (
                "Where a service can stand, and what leads from there to where. What is not in the "
                "table is refused (409) and changes nothing. An arrow from a phase to itself is a "
                "change within it, such as the next step, or a command that finds its work done.\n"
            ),
            "```mermaid",
            *diagram,
            "```\n",
            "| phase | event | meaning | leads to |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


# --------------------------------------------------------------------------- tables of keys


def _table(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{key_of(name, info)}` | {_type(info.annotation, tuple(info.metadata))} | "
        f"{_default(info)} | {_unit(info)} | {info.description} |"
        for name, info in model.model_fields.items()
    ]
    head = f"### {title if title == 'The file' else f'`{title}`'}\n\n{model.__doc__}\n"
    return "\n".join(
        [head, "| key | type | default | unit | meaning |", "| --- " * 5 + "|", *rows, ""]
    )


def _is_duration(annotation: Any, metadata: tuple[Any, ...]) -> bool:
    nested = [meta for arg in get_args(annotation) for meta in getattr(arg, "__metadata__", ())]
    return any(
        isinstance(meta, BeforeValidator) and meta.func is parse_duration
        for meta in (*metadata, *nested)
    )


def _type(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return a type in words, with the bounds of a number."""
    wanted, origin = inner(annotation), get_origin(inner(annotation))
    if _is_duration(annotation, metadata):
        words = "duration"
    elif origin is Literal:
        words = " \\| ".join(f"`{choice}`" for choice in get_args(wanted))
    elif origin is tuple:
        return f"list of {_type(get_args(wanted)[0])}"
    elif origin is dict:
        return f"mapping of names to {_type(get_args(wanted)[1])}"
    elif issubclass(wanted, BaseModel):
        words = next(f"[{t}](#{_anchor(t)})" for t, model in _MODELS if model is wanted)
    elif wanted is Metric:
        words = "[metric](#metrics)"
    elif issubclass(wanted, Enum):
        words = " \\| ".join(f"`{choice.value}`" for choice in wanted)
    else:
        words = {bool: "true or false", int: "whole number", float: "number"}.get(wanted, "text")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(meta, name):g}"
        for meta in metadata
        for name, sign in signs.items()
        if getattr(meta, name, None) is not None
    ]
    return ", ".join([words, *bounds])


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower() if c.isalnum())


def _unit(info: FieldInfo) -> str:
    if _is_duration(info.annotation, tuple(info.metadata)):
        return "seconds, or with a unit"
    said = (info.description or "").split()[0].lower()
    if said == "percent":
        return "percent"
    return "conversations" if info.annotation is int else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = info.get_default(call_default_factory=True)
    if default is None:
        return ""
    if default in ((), {}):
        return "none"
    if isinstance(default, BaseModel):
        return "its defaults"
    if isinstance(default, tuple) and isinstance(default[0], Step):
        return "<br>".join(f"`{_flow(step)}`" for step in default)
    if isinstance(default, tuple) and isinstance(default[0], BaseModel):
        return "[see below](#default-guardrails)"
    if _is_duration(info.annotation, tuple(info.metadata)):
        return f"`{_duration(default)}`"
    return f"`{_plain(default)}`"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Enum):
        return str(value.value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def _flow(model: BaseModel) -> str:
    """Return what differs from a model's defaults, as YAML people write."""
    fields = type(model).model_fields
    parts = []
    for name, info in fields.items():
        value = getattr(model, name)
        if info.is_required() or value != info.get_default():
            timed = _is_duration(info.annotation, tuple(info.metadata))
            parts.append(f"{key_of(name, info)}: {_duration(value) if timed else _plain(value)}")
    return "{" + ", ".join(parts) + "}"


# --------------------------------------------------------------------------- phases

_EVENTS: tuple[type[ev.Event], ...] = tuple(dict.fromkeys(event for _, event in TABLE))

_TRIED = ServicePolicy.model_validate(
    {
        "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}},
        "stable": "v1",
        "rollout": {"steps": [{"weight": 1, "approve": True}, {"weight": 100}]},
    }
)


def _samples() -> tuple[ev.Event, ...]:
    """Return events enough to see all that the table can do."""
    when: dict[str, Any] = {"at": 0.0, "who": "reference"}
    return (
        ev.Start(release="v2", policy=_TRIED, **when),
        ev.Start(release="v1", policy=_TRIED, **when),
        ev.StepOver(**when),
        ev.Promote(**when),
        ev.Promote(full=True, **when),
        ev.Halt(by="guardrail", timebox=1200.0, **when),
        ev.Halt(**when),
        ev.Resume(**when),
        ev.RollBack(**when),
        ev.Drained(**when),
        ev.BakeOver(**when),
        ev.Register(release="v2", slot=Slot.GREEN, **when),
    )


def edges() -> dict[tuple[Phase, str], tuple[Phase, ...]]:
    """Return the phases that each pair of the table can lead to, found by trying them all."""
    seen: dict[object, Service] = {}
    reached: dict[tuple[Phase, type[ev.Event]], set[Phase]] = {pair: set() for pair in TABLE}
    pending = [first_state("chat", _TRIED, 0.0)]
    while pending:
        service = pending.pop()
        rollout = service.rollout
        shape = (
            service.phase,
            service.stable,
            service.previous,
            rollout and (rollout.step, rollout.waiting, rollout.pause and rollout.pause.by),
            rollout and rollout.pause and rollout.pause.resumes,
        )
        if shape in seen:
            continue
        seen[shape] = service
        for event in _samples():
            try:
                after = apply(service, event)
            except Refused:
                continue
            reached[service.phase, type(event)].add(after.phase)
            pending.append(after)
    order = list(Phase)
    return {
        (phase, event.__name__): tuple(sorted(results, key=order.index))
        for (phase, event), results in reached.items()
    }


def _first_sentence(event: type[ev.Event]) -> str:
    text = " ".join((event.__doc__ or "").split("\n\n")[0].split())
    return text.split(". ")[0].split("; ")[0].removesuffix(".")


def main(folder: str = "docs") -> None:
    """Write the three files into `folder`."""
    pages = {
        "policy.md": policy_page(),
        "policy.schema.json": policy_schema(),
        "phases.md": phases_page(),
    }
    for name, text in pages.items():
        with open(f"{folder.rstrip('/')}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
