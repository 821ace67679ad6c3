"""Coalmine: canary releases for LLMs behind the LiteLLM proxy, and the way back.

LiteLLM loads the gateway plugin by name, ``litellm_settings.callbacks: ["coalmine.plugin"]``.
The attribute is made on first access, so that the CLI, the client and the pure rooms never
import LiteLLM.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "plugin"]


def __getattr__(name: str) -> Any:
    """Return the gateway plugin as ``coalmine.plugin`` (LiteLLM wants an instance)."""
    if name == "plugin":
        from coalmine.gateway.boot import plugin

        return plugin()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
