"""What is legal in a policy but doubtful, for ``coalmine lint``."""

from __future__ import annotations

from collections.abc import Iterator

from coalmine.guardrails.guardrail import Action, Rule
from coalmine.rollout.policy import Policy, ServicePolicy
from coalmine.rollout.problems import Path

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
        yield (
            ("guardrails",),
            "none rolls back, so only a person can",
            "give one of them action: rollback",
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
