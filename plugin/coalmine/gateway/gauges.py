"""Gauges: how things stand now, for the metrics."""

from __future__ import annotations

from collections.abc import Mapping

from coalmine.control.controller import published_name
from coalmine.rollout.service import Service
from coalmine.routing import Phase
from coalmine.state import Beat, State

Labels = tuple[tuple[str, str], ...]


CONTROLLER = ("ok", "missing", "unknown")
"""What is known of the one worker that judges; see :class:`.health.ControllerWatch`."""


def gauges(services: Mapping[str, Service], workers: list[Beat], state: State, controller: str
           ) -> dict[str, dict[Labels, float]]:
    """Return the gauges of the contract, by labels; `controller` is one of `CONTROLLER`."""
    found: dict[str, dict[Labels, float]] = {
        "coalmine_in_flight": {}, "coalmine_weight_percent": {}, "coalmine_epoch": {},
        "coalmine_phase": {}, "coalmine_guardrail_evidence": {}, "coalmine_workers": {},
        "coalmine_controller": {
            (("status", status),): float(status == controller) for status in CONTROLLER},
    }
    for beat in workers:
        for name, count in beat.in_flight.items():
            served, release = _split(name, services)
            labels: Labels = (("service", served), ("release", release))
            held = found["coalmine_in_flight"]
            held[labels] = held.get(labels, 0) + count
    found["coalmine_workers"][()] = float(len(workers))
    for name, service in services.items():
        label = (("service", name),)
        found["coalmine_weight_percent"][label] = service.weight
        found["coalmine_epoch"][label] = float(service.epoch)
        for phase in Phase:
            found["coalmine_phase"][(("service", name), ("phase", phase.value))] = float(
                phase is service.phase
            )
        published = state.published(published_name(name)) or {}
        for finding in (published.get("verdict") or {}).get("guardrails", ()):
            if finding.get("evidence") is not None:
                labels = (("service", name), ("guardrail", finding["name"]))
                found["coalmine_guardrail_evidence"][labels] = float(finding["evidence"])
    return found


def _split(name: str, services: Mapping[str, Service]) -> tuple[str, str]:
    """Return service and release of ``service/release``; names of both may hold slashes."""
    known = [service for service in services if name.startswith(f"{service}/")]
    if not known:
        service, _, release = name.partition("/")
        return service, release
    service = max(known, key=len)
    return service, name[len(service) + 1:]
