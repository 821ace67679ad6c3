"""A start-up check that LiteLLM's hooks are the ones we know.

A hook that was renamed or lost an argument would be skipped silently. On a mismatch Coalmine serves
stable only and says so, in the log, in healthz and in the metrics.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

EXPECTED: Mapping[str, tuple[str, ...]] = {
    "async_pre_call_hook": ("user_api_key_dict", "cache", "data", "call_type"),
    "async_filter_deployments": (
        "model", "healthy_deployments", "messages", "request_kwargs", "parent_otel_span"),
    "async_pre_call_deployment_hook": ("kwargs", "call_type"),
    "async_post_call_success_deployment_hook": ("request_data", "response", "call_type"),
    "async_post_call_failure_deployment_hook": ("request_data", "exception", "call_type"),
    "async_post_call_streaming_iterator_hook": (
        "user_api_key_dict", "response", "request_data"),
    "async_post_call_response_headers_hook": ("data", "user_api_key_dict", "response"),
    "async_post_call_failure_hook": (
        "request_data", "original_exception", "user_api_key_dict"),
    "async_log_success_event": ("kwargs", "response_obj", "start_time", "end_time"),
}
"""The hooks that we use, and the arguments by which LiteLLM calls them."""


def mismatches(logger_class: type) -> list[str]:
    """Return what is wrong with the hooks of LiteLLM's ``CustomLogger``, in words."""
    wrong = []
    for name, arguments in EXPECTED.items():
        hook = getattr(logger_class, name, None)
        if hook is None:
            wrong.append(f"{name} is missing")
            continue
        known = inspect.signature(hook).parameters
        lost = [a for a in arguments if a not in known]
        if lost:
            wrong.append(f"{name} has lost {', '.join(lost)}")
        new = [p.name for p in known.values()
               if p.name not in (*arguments, "self") and p.default is inspect.Parameter.empty
               and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if new:
            wrong.append(f"{name} demands {', '.join(new)}, which we do not know")
    return wrong
