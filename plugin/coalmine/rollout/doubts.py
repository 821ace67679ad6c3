"""What is legal in a policy but doubtful, for ``coalmine lint``."""

from __future__ import annotations

from collections.abc import Iterator

from coalmine.guardrails.guardrail import Action, Guardrail, Metric, Rule
from coalmine.rollout.policy import Policy, ServicePolicy
from coalmine.rollout.problems import Path

LONG = 300.0
"""Seconds from which on a limit of a latency is doubted: milliseconds were meant."""

BETTER = frozenset({Metric.AVAILABILITY, Metric.SCORE, Metric.THROUGHPUT})
"""What is better when there is more of it."""

Doubt = tuple[Path, str, str]
"""Where it is, what is doubtful, and what to do."""


def doubts(policy: Policy) -> Iterator[Doubt]:
    """Find what is doubtful, in the order of the file."""
    if not policy.services:
        yield ("services",), "there is none, so nothing is rolled out", "name the model groups"
    for name, service in policy.services.items():
        for path, message, hint in _doubts_of(service):
            yield ("services", name, *path), message, hint


def _doubts_of(service: ServicePolicy) -> Iterator[Doubt]:
    plan, last = service.rollout, len(service.rollout.steps) - 1
    if len(service.releases) == 1:
        yield ("releases",), "there is only one, so nothing can be rolled out", "add the next one"
    final, baking = plan.steps[last].weight, 100 - plan.holdback
    if final < 100:
        yield (
            ("rollout", "steps", last, "weight"),
            f"the last step is {final:g}, then the bake gives {baking:g} at once (100 − holdback)",
            "end with weight: 100",
        )
    if plan.bake == 0:
        yield ("rollout", "bake"), "with 0 nothing is watched after the last step", "give 24h"
    if not any(g.does is Action.ROLLBACK and not g.dry_run for g in service.guardrails):
        acting = any(not g.dry_run for g in service.guardrails)
        yield (
            ("guardrails",),
            "none rolls back before a pause has gone unanswered for its timebox" if acting
            else "none acts",
            "give one of them action: rollback",
        )
    for number, guardrail in enumerate(service.guardrails):
        for field, message, hint in _of_guardrail(guardrail):
            yield ("guardrails", number, *field), message, hint
    for number, step in enumerate(plan.steps):
        if step.require and step.weight >= 100:
            yield (
                ("rollout", "steps", number, "require"),
                ("at weight 100 every new conversation is the candidate's, so nothing more can be "
                "proven: the step may wait for ever"),
                "ask for evidence in a step before it",
            )
    comparing = [g.name for g in service.guardrails if g.relative or g.rule is Rule.EVIDENCE]
    if plan.holdback == 0 and plan.bake > 0 and comparing:
        yield (
            ("rollout", "holdback"),
            (f"with 0 the bake has nothing to compare with: for {', '.join(comparing)} there is "
             "the recorded baseline at best, and evidence grows no more"),
            "give 2",
        )
    if service.sessions.on_rollback == "finish":
        yield (
            ("sessions", "on_rollback"),
            "after a mild or manual rollback, conversations stay on the release that was given up",
            "move is safer",
        )
    if service.sessions.grace == 0:
        yield (
            ("sessions", "grace"),
            "with 0 a live conversation whose id was not seen yet counts as new and may be moved",
            "give 60s",
        )


def _of_guardrail(guardrail: Guardrail) -> Iterator[Doubt]:
    """Find what is doubtful in one guardrail; where within it."""
    metric = guardrail.metric
    for field in ("max", "slo"):
        value = getattr(guardrail, field)
        if metric.is_latency and value is not None and value >= LONG:
            yield (field,), f"{value:g} seconds is a long time", "latencies are in seconds: 0.8"
    for field in ("max", "max_ratio", "max_increase"):
        if metric in BETTER and getattr(guardrail, field) is not None:
            lower = {"max": "min"}.get(field, "min_ratio")
            yield (
                (field,),
                f"more {metric.value} is better, and this acts when there is too much",
                f"give {lower}",
            )
    if guardrail.alone and not guardrail.relative:
        yield ("alone",), "a limit that does not compare with stable acts alone anyway", "leave out"
    if guardrail.max_burn_rate is not None and guardrail.short == guardrail.seconds:
        yield (
            ("for",),
            f"both windows of the burn rate are {guardrail.seconds:g} s",
            "give for: 1h, of which the short one is a twelfth",
        )
