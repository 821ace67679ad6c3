"""What speaks against a host's slots, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

MOST = 0.95
"""Share of a device's memory that slots may take together: the rest is the driver's."""

Slot = Mapping[str, Any]


def name_of(slot: Slot) -> str:
    """Return a slot's unit name, ``chat-blue``."""
    return f"{slot['service']}-{slot['slot']}"


def misfits(slots: Iterable[Slot], environments: Mapping[str, Any]) -> list[str]:
    """Return what does not fit together on one host, a sentence each; empty when all does."""
    known = list(slots)
    return [*_twice(known), *_unknown(known, environments), *_crowded(known)]


def wanted(slots: Iterable[Slot], named: Iterable[str] | None, retired: Iterable[str]
           ) -> list[Slot]:
    """Return the slots that are to run: those that were named, or else all that are not retired."""
    return [slot for slot in slots
            if (name_of(slot) in named if named is not None else name_of(slot) not in retired)]


def before(slots: Iterable[Slot], slot: Slot) -> list[str]:
    """Return the names of the slots that start before one."""
    names = list(map(name_of, slots))
    return names[: names.index(name_of(slot))]


def _twice(slots: list[Slot]) -> Iterable[str]:
    names = Counter(map(name_of, slots))
    yield from (f"vllm_slots names {name} {times} times" for name, times in names.items()
                if times > 1)
    ports: dict[int, list[str]] = {}
    for slot in slots:
        ports.setdefault(int(slot["port"]), []).append(name_of(slot))
    yield from (f"{' and '.join(who)} have one port, {port}: give each its own"
                for port, who in ports.items() if len(set(who)) > 1)


def _unknown(slots: list[Slot], environments: Mapping[str, Any]) -> Iterable[str]:
    for slot in slots:
        if slot["environment"] not in environments:
            there = ", ".join(sorted(environments)) or "none"
            yield (f"{name_of(slot)} wants environment {slot['environment']}, and "
                   f"vllm_environments knows {there}")


def _crowded(slots: list[Slot]) -> Iterable[str]:
    """Both slots of a service are warm at once, so their shares of a device add up."""
    named = {device for slot in slots for device in slot.get("devices") or ()}
    told = set()
    for device in sorted(named) or ["0"]:
        sharers = [slot for slot in slots if device in (slot.get("devices") or [device])]
        share = sum(float(slot.get("gpu_memory") or 0.0) for slot in sharers)
        who = " and ".join(map(name_of, sharers))
        if share > MOST + 1e-9 and who not in told:
            told.add(who)
            yield (f"{who} take {share:.0%} of the memory of device {device} together: give them "
                   f"{MOST:.0%} at most (gpu_memory), or devices of their own (devices)")


class FilterModule:
    """The filters that Ansible finds here."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"vllm_misfits": misfits, "vllm_slot_name": name_of,
                "vllm_slots_before": before, "vllm_slots_wanted": wanted}
