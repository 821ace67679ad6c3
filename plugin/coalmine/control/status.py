"""A service as the API shows it: its state, the published figures and the workers, in one view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coalmine.control.figures import UNWATCHED
from coalmine.control.moments import moment
from coalmine.rollout.service import Rollout, Service
from coalmine.routing import ROLLOUT_RUNS, Arm, Phase
from coalmine.state import Beat

_NO_FIGURES = {"conversations": 0, "attempts": 0, "failures": 0, "ttft_p50": None,
               "ttft_p95": None, "ttft_p99": None}


def _arm(service: Service, arm: Arm, figures: dict[str, Any], workers: Iterable[Beat]
         ) -> dict[str, Any] | None:
    release = service.stable if arm is Arm.STABLE else service.candidate
    if release is None:
        return None
    record = service.releases.get(release)
    name = f"{service.name}/{release}"
    known = (figures.get("arms") or {}).get(arm.value) or _NO_FIGURES
    return {
        "release": release,
        "slot": record.slot.value if record else None,
        **known,
        "in_flight": sum(beat.in_flight.get(name, 0) for beat in workers),
    }


def _soak(service: Service) -> float:
    """Seconds that the step, or the bake, has to last."""
    rollout = service.rollout
    assert rollout is not None
    baking = service.phase is Phase.BAKING or (
        rollout.pause is not None and rollout.pause.resumes is Phase.BAKING
    )
    return rollout.plan.bake if baking else rollout.current_step.soak


def _soaked(rollout: Rollout, figures: dict[str, Any], now: float) -> float:
    """Seconds that the step, or the bake, has lasted while somebody judged. Of what comes after the
    last judgement only as much counts as may pass between two."""
    if figures.get("step_began") != rollout.step_began:
        return rollout.soak(now)
    judged = min(now, figures.get("at", now) + UNWATCHED)
    return max(0.0, rollout.soak(judged) - figures.get("unwatched", 0.0))


def _grace_until(service: Service, now: float) -> float | None:
    """Return until when ids that were never seen count as old, None when no grace runs."""
    rollout = service.rollout
    if rollout is None or service.phase not in ROLLOUT_RUNS:
        return None
    until = rollout.began + rollout.policy.sessions.grace
    return until if until > now else None


def service_document(service: Service, published: dict[str, Any] | None, workers: list[Beat],
                     now: float) -> dict[str, Any]:
    """Return the service as the contract has it at `now`; what does not apply is null."""
    figures = published or {}
    rollout = service.rollout
    running = service.phase in ROLLOUT_RUNS
    return {
        "service": service.name,
        "phase": service.phase.value,
        "waiting": rollout.waiting if rollout else None,
        "epoch": service.epoch,
        "rollout": rollout.id if rollout else None,
        "stable": service.stable,
        "candidate": service.candidate,
        "previous": service.previous,
        "weight": service.weight,
        "step": rollout.step if rollout and service.phase is not Phase.BAKING and running else None,
        "steps": len(rollout.plan.steps) if rollout else None,
        "soaked": _soaked(rollout, figures, now) if rollout and running else None,
        "soak": _soak(service) if rollout and running else None,
        "since": moment(service.since),
        "reason": service.reason,
        "verdict": figures.get("verdict") if running else None,
        "verification": rollout.verification if rollout else None,
        "arms": {arm.value: _arm(service, arm, figures, workers) for arm in Arm},
        "workers": [
            {"id": beat.worker, "gateway": beat.gateway, "epoch": beat.epochs.get(service.name),
             "applied": moment(beat.applied.get(service.name), "microseconds"),
             "seen": moment(now - beat.seen)}
            for beat in sorted(workers, key=lambda beat: (beat.gateway, beat.worker))
        ],
        "releases": {name: {"slot": record.slot.value, "digest": record.digest}
                     for name, record in service.releases.items()},
        "unrecognised": figures.get("unrecognised"),
        "grace_until": moment(_grace_until(service, now)),
    }
