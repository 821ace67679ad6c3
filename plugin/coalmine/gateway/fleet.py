"""LiteLLM's deployments as we see them: by service and slot.

A deployment says ``model_info: {id, service, slot}``. One slot's deployments form the group that
clients call, the other's a group of their own; a service whose group holds both slots works too,
but is warned about, because LiteLLM alone would split it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coalmine.release import Slot, Strength

Deployment = dict[str, Any]
"""A deployment as LiteLLM's router keeps it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment belongs."""

    service: str
    slot: Slot
    group: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """All deployments that belong to services. Immutable; made anew when LiteLLM's list changes.

    Attributes:
        places: place by deployment id.
        slots: deployments by (service, slot).
        aliases: what a client may give as model, and the service it means: groups of slots,
            deployment ids and deployment names.
        groups: by deployment id, under which name a deployment counts that no known service has:
            the service that it says it belongs to, or LiteLLM's group.
        warnings: what is doubtful, in words.
    """

    places: Mapping[str, Place]
    slots: Mapping[tuple[str, Slot], tuple[Deployment, ...]]
    aliases: Mapping[str, str]
    groups: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def deployments(self, service: str, slot: Slot | None) -> tuple[Deployment, ...]:
        """The deployments of a slot."""
        return self.slots.get((service, slot), ()) if slot is not None else ()

    def strength(self, service: str, slot: Slot) -> Strength:
        """What a slot's deployments say of themselves in ``model_info``: `capacity` and `host`."""
        infos = [deployment.get("model_info") or {} for deployment in
                 self.deployments(service, slot)]
        return Strength(
            capacity=sum(_capacity(info.get("capacity")) for info in infos),
            hosts=frozenset(str(info["host"]) for info in infos if info.get("host")),
        )


EMPTY = Fleet({}, {}, {})


def _capacity(stated: Any) -> float:
    """Return a deployment's capacity: 1 unless it states a number above 0."""
    number = isinstance(stated, (int, float)) and not isinstance(stated, bool)
    return float(stated) if number and 0 < stated < float("inf") else 1.0


def read_fleet(model_list: Iterable[Deployment], services: Iterable[str]) -> Fleet:
    """Return the fleet that LiteLLM's `model_list` describes for the policy's `services`."""
    known = set(services)
    places: dict[str, Place] = {}
    slots: dict[tuple[str, Slot], list[Deployment]] = {}
    names: dict[str, set[str]] = {}
    groups: dict[tuple[str, str], set[Slot]] = {}
    others: set[str] = set()
    group_of: dict[str, str] = {}
    warnings: list[str] = []
    for deployment in model_list:
        info = deployment.get("model_info") or {}
        service, slot = info.get("service"), info.get("slot")
        group = str(deployment.get("model_name"))
        # Without a policy both slots count as the one service that they will be.
        declared = isinstance(service, str) and service and service not in known
        group_of[str(info.get("id"))] = str(service) if declared else group
        if not isinstance(service, str) or service not in known:
            others.add(group)
            continue
        try:
            where = Slot(slot)
        except ValueError:
            warnings.append(
                f"deployment {info.get('id')} of {service} is not used: slot {slot!r} is unknown"
            )
            continue
        places[str(info.get("id"))] = Place(service, where, group)
        slots.setdefault((service, where), []).append(deployment)
        groups.setdefault((service, group), set()).add(where)
        for name in (group, str(info.get("id")),
                     str((deployment.get("litellm_params") or {}).get("model"))):
            names.setdefault(name, set()).add(service)
    for (_, group), held in groups.items():
        if len(held) > 1:
            warnings.append(
                f"group {group} holds both slots: without Coalmine, LiteLLM would split it; "
                "give the slot that is not home a group of its own"
            )
        if group in others:
            warnings.append(
                f"group {group} also holds deployments of no service: clients that call it by name "
                "reach them and the slot alike; give them a group of their own"
            )
    warnings += [
        f"no deployment of {service} is in the group {service} that clients call; give one "
        f"slot's deployments model_name: {service}"
        for service in sorted({service for service, _ in groups})
        if (service, service) not in groups
    ]
    return Fleet(
        places=places,
        slots={where: tuple(found) for where, found in slots.items()},
        # A name that two services share (one engine for both) means neither.
        aliases={name: next(iter(of)) for name, of in names.items()
                 if len(of) == 1 and name not in known | others},
        groups=group_of,
        warnings=tuple(warnings),
    )
