"""What of a client's body may not reach LiteLLM: everything by which it would choose a deployment,
slip off our record, or make a healthy engine fail.

Admins are let through; they may address a slot on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHOOSING = ("_excluded_deployment_ids", "_target_order", "specific_deployment")
"""Fields with which a client could choose a deployment."""

FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
"""Lists of further targets; LiteLLM merges an entry that is an object into the request."""

TRANSPORT = ("custom_llm_provider", "organization", "extra_query")
"""Fields that change how LiteLLM talks to the engine: a healthy one answers 401 or 404 then."""

CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key", "host", "content-type",
                         "content-length", "transfer-encoding"})
"""Headers of the call to the engine that are not the client's to set."""

NESTED = frozenset({*CHOOSING, *FALLBACKS, *TRANSPORT, "metadata", "litellm_metadata", "headers",
                    "extra_headers"})
"""Fields that an entry of a list of fallbacks may not bring along."""


def strip_choices(data: dict[str, Any]) -> None:
    """Take away the fields with which a client could choose a deployment."""
    for field in CHOOSING:
        data.pop(field, None)


def strip_transport(data: dict[str, Any]) -> None:
    """Take away what changes how LiteLLM talks to the engine."""
    for field in TRANSPORT:
        data.pop(field, None)
    for field in ("headers", "extra_headers"):
        if isinstance(data.get(field), dict):
            data[field] = {name: value for name, value in data[field].items()
                           if str(name).lower() not in CREDENTIALS}


def map_fallbacks(data: dict[str, Any], aliases: Mapping[str, str]) -> None:
    """Let a client's fallbacks name services only, not slots or deployments.

    Not recursive on purpose: a list made to be deep must not end in an error of ours.
    """
    for field in FALLBACKS:
        if isinstance(data.get(field), list):
            data[field] = [_target(entry, aliases) for entry in data[field][:64]]


def _target(entry: Any, aliases: Mapping[str, str]) -> Any:
    if isinstance(entry, str):
        return aliases.get(entry, entry)
    if not isinstance(entry, dict):
        return entry
    kept = {name: value for name, value in entry.items() if name not in NESTED}
    for name, value in kept.items():
        if name == "model" and isinstance(value, str):
            kept[name] = aliases.get(value, value)
        elif name != "messages" and isinstance(value, list):  # {group: [targets]}
            kept[name] = [aliases.get(v, v) if isinstance(v, str) else v for v in value]
    return kept
