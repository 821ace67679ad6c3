"""LiteLLM's response cache, kept apart by release.

It keys on the model group, so releases would share their answers: a candidate's would outlive its
rollback. A namespace per release keeps them apart, and a release that serves again finds its own.
"""

from __future__ import annotations

from typing import Any

import litellm


def keep_apart(kwargs: dict[str, Any], service: str, release: str) -> None:
    """Let an attempt's arguments read and write the answers of its release only.

    Args:
        kwargs: the arguments, LiteLLM's copy for the hooks.
        service: the service; release: the release, "" when it has none.
    """
    if litellm.cache is None or not release:
        return
    wishes = kwargs.get("cache")
    wishes = wishes if isinstance(wishes, dict) else {}
    ours = f"{service}:{release}"
    metadata = kwargs.get("metadata")
    theirs = str(
        wishes.get("namespace")
        or (metadata.get("redis_namespace") if isinstance(metadata, dict) else None)
        or getattr(litellm.cache, "namespace", None)
        or ""
    )
    if theirs != ours and not theirs.endswith(f":{ours}"):  # twice on /v1/messages
        kwargs["cache"] = {**wishes, "namespace": f"{theirs}:{ours}" if theirs else ours}
