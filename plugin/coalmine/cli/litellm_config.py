"""Whether LiteLLM's config and the policy fit together. Everything here is a warning, since
LiteLLM may hold deployments elsewhere too (its database, included files)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from coalmine.release import Slot
from coalmine.rollout.policy import Policy

PLUGIN = "coalmine.plugin"


class Deployment(NamedTuple):
    """One entry of LiteLLM's model_list that says to which service it belongs."""

    place: str
    group: str
    service: str
    slot: str
    has_id: bool


def check(policy: Policy, config: dict[str, Any]) -> list[str]:
    """Return what does not fit, in words, in the order of reading.

    Args:
        policy: the policy.
        config: LiteLLM's config as read from YAML.
    """
    deployments = list(_deployments(config))
    return [
        *_callbacks(config),
        *_unknown(policy, deployments),
        *_ids(deployments),
        *_groups(deployments),
        *_missing(policy, deployments),
    ]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _deployments(config: dict[str, Any]) -> Iterator[Deployment]:
    entries = config.get("model_list")
    for number, found in enumerate(entries if isinstance(entries, list) else []):
        entry = _mapping(found)
        info = _mapping(entry.get("model_info"))
        if "service" in info or "slot" in info:
            yield Deployment(
                f"model_list[{number}]",
                str(entry.get("model_name", "")),
                str(info.get("service", "")),
                str(info.get("slot", "")),
                bool(info.get("id")),
            )


def _callbacks(config: dict[str, Any]) -> Iterator[str]:
    callbacks = _mapping(config.get("litellm_settings")).get("callbacks") or []
    if PLUGIN not in ([callbacks] if isinstance(callbacks, str) else callbacks):
        yield (
            f"litellm_settings.callbacks lacks {PLUGIN}: LiteLLM will not load Coalmine, "
            "and everything stays on stable"
        )


def _unknown(policy: Policy, deployments: list[Deployment]) -> Iterator[str]:
    slots = [slot.value for slot in Slot]
    for one in deployments:
        if one.service not in policy.services:
            known = ", ".join(policy.services) or "none"
            yield f"{one.place}: service {one.service!r} is not in the policy (known: {known})"
        if one.slot not in slots:
            yield f"{one.place}: slot {one.slot!r} is neither {' nor '.join(slots)}"


def _ids(deployments: list[Deployment]) -> Iterator[str]:
    for one in deployments:
        if not one.has_id:
            yield (
                f"{one.place}: no model_info.id: LiteLLM makes one from the parameters, so the "
                "figures of this deployment break off at the next change of a key or an address"
            )


def _groups(deployments: list[Deployment]) -> Iterator[str]:
    for group in dict.fromkeys(one.group for one in deployments):
        for service in dict.fromkeys(one.service for one in deployments if one.group == group):
            both = (group, service)
            slots = {one.slot for one in deployments if (one.group, one.service) == both}
            if len(slots) > 1:
                yield (
                    f"group {group!r} holds both slots of {service}: without the plugin LiteLLM "
                    f"would split between them; put one slot into a group of its own, such as "
                    f"{service}.{sorted(slots)[-1]}"
                )


def _missing(policy: Policy, deployments: list[Deployment]) -> Iterator[str]:
    for name, service in policy.services.items():
        held = {one.slot for one in deployments if one.service == name}
        for release, entry in service.releases.items():
            if entry.slot.value not in held:
                yield (
                    f"release {release} of {name}: no deployment says model_info: "
                    f"{{service: {name}, slot: {entry.slot.value}}}"
                )
        if held and not any(one.service == one.group == name for one in deployments):
            yield f"{name}: no deployment is in the group {name!r}, which is what clients call"
