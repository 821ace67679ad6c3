"""Alertmanager's webhook: what its alerts ask for, which is to pause or to roll back, no more."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from coalmine.control.access import Unauthorized, bearer, same_token
from coalmine.control.bodies import TEXT_CAP, clean, parse, read
from coalmine.control.errors import BadRequest
from coalmine.control.surroundings import Surroundings, secret
from coalmine.release import CoalmineError
from coalmine.state import StateError

log = logging.getLogger("coalmine.api")

ALERTS_CAP = 1024 * 1024
"""Bytes of a webhook's body that are read."""

ALERT_TIMEBOX = 1200.0
"""Seconds that an alert's pause waits for an answer before it rolls back."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires."""

    name: str
    service: str
    action: str
    reason: str


async def take_alerts(around: Surroundings, request: Request) -> dict[str, Any]:
    """Do what alerts ask for; what a phase does not allow is told, and is no error.

    One alert's fault keeps none of the others back. What failed for the state's sake is an
    error in the end, so that Alertmanager sends it again.
    """
    expected = secret(around.alert_token)
    if not expected:
        raise Unauthorized(
            "alerts are not taken: the policy has no alertmanager_token, or its variable is unset",
            "write alertmanager_token: os.environ/NAME into the policy, and set NAME for the proxy",
        )
    if not same_token(bearer(request.headers.get("authorization")), expected):
        raise Unauthorized("this token is not the alertmanager_token of the policy")
    done: list[dict[str, Any]] = []
    failed: StateError | None = None
    for alert in firing(parse(await read(request, ALERTS_CAP))):
        try:
            done.append(await _obey(around, alert))
        except StateError as error:
            failed = error
        except CoalmineError as error:
            log.warning("an alert changed nothing: %s", error)
            done.append({"service": alert.service, "changed": False, "reason": error.message})
    if failed is not None:
        raise failed
    return {"done": done}


async def _obey(around: Surroundings, alert: Alert) -> dict[str, Any]:
    commands = around.commands
    who = f"alert {alert.name}"
    if alert.action == "rollback":
        await commands.check_back(alert.service, None)
        done = await around.threaded(commands.rollback, alert.service, who, alert.reason,
                                     trigger="alert")
    elif alert.action == "pause":
        done = await around.threaded(commands.pause, alert.service, who, alert.reason, None,
                                     by="alert", timebox=ALERT_TIMEBOX)
    else:
        raise BadRequest(f"label coalmine={alert.action!r}", "write pause or rollback")
    return {"service": alert.service, "changed": done.changed, "phase": done.service.phase.value}


def firing(document: Any) -> list[Alert]:
    """Return the alerts of an Alertmanager webhook that fire and name a service."""
    found = []
    try:
        for alert in document["alerts"][:100]:
            labels, notes = alert.get("labels") or {}, alert.get("annotations") or {}
            if alert.get("status") != "firing" or not labels.get("service"):
                continue
            name = clean(str(labels.get("alertname") or "alert"))[:200]
            found.append(Alert(
                name, clean(str(labels["service"])), clean(str(labels.get("coalmine", "pause"))),
                clean(str(notes.get("summary") or f"alert {name}"))[:TEXT_CAP],
            ))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRequest("this is not an Alertmanager webhook") from error
    return found
