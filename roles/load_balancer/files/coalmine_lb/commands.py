"""What coalmine-lb does: each command returns what it answers with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from .files import Places, alone, read, with_slot, write
from .haproxy import GATEWAYS, Haproxy
from .refused import Refused
from .standing import Gateway
from .states import drained
from .words import many

INTERVAL = 0.25
"""Seconds between two looks at a gateway that is waited for."""


def status(haproxy: Haproxy, places: Places) -> dict[str, Any]:
    """Return how things stand."""
    gateways = haproxy.gateways().values()
    keys = [line for line in read(places.keys).split() if re.fullmatch("[0-9a-f]{64}", line)]
    usable = sum(gateway.usable for gateway in gateways)
    return {
        "current": haproxy.current(),
        "path": "gateways" if usable else "slow" if keys else "none",
        "usable": usable,
        "gateways": [gateway.document() for gateway in gateways],
        "services": [service.document() for service in haproxy.services().values()],
        "emergency_keys": len(keys),
    }


def drain(haproxy: Haproxy, places: Places, name: str, wait: float) -> dict[str, Any]:
    """Give a gateway no new requests, and wait until it has none.

    Raises:
        Refused: there is no such gateway, or it still has requests when `wait` seconds are over.
    """
    changed = _turn(haproxy, places, name, "drain", lambda gateway: gateway.drained)
    gateway, answer = _wait(haproxy, name, wait, lambda gateway: not gateway.sessions)
    if wait and gateway.sessions:
        raise Refused(f"{name} still has {many(gateway.sessions, 'session')} after {wait:g} s; "
                      f"it stays drained")
    return {**answer, "changed": changed}


def ready(haproxy: Haproxy, places: Places, name: str, wait: float) -> dict[str, Any]:
    """Give a gateway requests again, and wait until it gets some.

    Raises:
        Refused: there is no such gateway, or its checks fail when `wait` seconds are over.
    """
    changed = _turn(haproxy, places, name, "ready",
                    lambda gateway: gateway.state in ("up", "down"))
    gateway, answer = _wait(haproxy, name, wait, lambda gateway: gateway.usable)
    if wait and not gateway.usable:
        raise Refused(f"{name} is not drained any more, but its checks still fail after {wait:g} s")
    return {**answer, "changed": changed}


def slot(haproxy: Haproxy, places: Places, name: str, to: str) -> dict[str, Any]:
    """Lead the slow path of a service to the engines of a slot, now and after a restart.

    Raises:
        Refused: there is no such service, or no engine in that slot.
    """
    with alone(places):
        services = haproxy.services()
        if name not in services:
            raise Refused(f"haproxy knows no service {name}: {_one_of(services)}")
        service = services[name]
        up, count = service.engines.get(to, (0, 0))
        if not count:
            raise Refused(f"{name} has no engine in slot {to}")
        before = read(places.slots)
        if service.written != to:
            write(places.slots, with_slot(before, name, to))
        if service.slot != to:
            verb = "add" if service.slot is None else "set"
            try:
                haproxy.tell(f"{verb} map {places.slots} {name} {to}")
            except Refused:
                write(places.slots, before)
                raise
    return {"service": name, "slot": to, "before": service.slot,
            "changed": (service.slot, service.written) != (to, to), "up": up, "all": count}


def _turn(haproxy: Haproxy, places: Places, name: str, state: str,
          there: Callable[[Gateway], bool]) -> bool:
    """Set a gateway's state and write down which are drained; return whether it was another."""
    with alone(places):
        changed = not there(_known(haproxy.gateways(), name))
        if changed:
            haproxy.tell(f"set server {GATEWAYS}/{name} state {state}")
        text = drained(haproxy.states(), read(places.drained))
        if text != read(places.drained):
            write(places.drained, text)
    return changed


def _wait(haproxy: Haproxy, name: str, wait: float, until: Callable[[Gateway], bool]
          ) -> tuple[Gateway, dict[str, Any]]:
    """Look at a gateway until it is as it should be or `wait` seconds are over.

    Returns it as it is then, and the answer that says so.
    """
    began = time.monotonic()
    while True:
        gateways = haproxy.gateways()
        gateway = _known(gateways, name)
        waited = time.monotonic() - began
        if until(gateway) or waited >= wait:
            return gateway, {
                "gateway": name, "state": gateway.state, "sessions": gateway.sessions,
                "waited": round(waited, 1),
                "usable": sum(other.usable for other in gateways.values())}
        time.sleep(min(INTERVAL, wait - waited))


def _known(gateways: dict[str, Gateway], name: str) -> Gateway:
    if name not in gateways:
        raise Refused(f"haproxy knows no gateway {name}: {_one_of(gateways)}")
    return gateways[name]


def _one_of(names: dict[str, Any]) -> str:
    return f"it is one of {', '.join(names)}" if names else "it knows none"
