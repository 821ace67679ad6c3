"""What commands answer, for people."""

from __future__ import annotations

from typing import Any

from .files import Places


def status_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `status`."""
    gateways, services = found["gateways"], found["services"]
    lines = [f"{found['usable']} of {many(len(gateways), 'gateway')} usable"]
    if not found["current"]:
        lines.insert(0, "the configuration in force is not the one written: reload haproxy, and "
                        "look at `journalctl -u haproxy`")
    width = max((len(gateway["name"]) for gateway in gateways), default=0)
    lines += [f"  {gateway['name']:{width}}  {gateway['state']:11}  {gateway['address']}  "
              f"{many(gateway['sessions'], 'session')}" for gateway in gateways]
    lines.append({
        "gateways": f"slow path: not in use, {many(found['emergency_keys'], 'key')} may use it",
        "slow": f"slow path: IN USE, {many(found['emergency_keys'], 'key')} may use it",
        "none": "slow path: closed, and NO GATEWAY is left: nobody is answered",
    }[found["path"]])
    for service in services:
        engines = ", ".join(f"{name} {held['up']} of {held['all']} up"
                            for name, held in service["engines"].items())
        lines.append(f"  {service['service']}  {service['slot']}  ({engines})")
        if service["slot"] != service["written"]:
            lines.append(f"    after a restart {service['written']}, says {Places.slots}: "
                         f"`coalmine-lb slot {service['service']} SLOT` sets both")
    return lines


def turned_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `drain` and `ready`."""
    was = "" if found["changed"] else ", unchanged"
    sessions = many(found["sessions"], "session")
    lines = [f"{found['gateway']} is {found['state']}{was}, {sessions}"]
    if not found["usable"]:
        lines.append("no gateway is left: requests take the slow path")
    return lines


def slot_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `slot`."""
    was = f", before {found['before']}" if found["changed"] else ", unchanged"
    lines = [f"the slow path of {found['service']} leads to {found['slot']}{was}"]
    if not found["up"]:
        lines.append(f"none of {many(found['all'], 'engine')} there answers")
    return lines


def many(count: int, thing: str) -> str:
    """Return a count of things in words."""
    return f"{count} {thing}" + "s" * (count != 1)
