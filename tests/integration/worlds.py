"""LiteLLM configurations and policies, made of services that differ in what a test needs.

A service `chat` has the deployments `chat-blue-1` in the group `chat` and `chat-green-1` in the
group `chat.green`; each is served by its engine under its own id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .engines import Engines
from .gateway import MASTER_KEY, Setup, setup

QUIET = [{"name": "watch", "metric": "error_rate", "max": 0.9, "dry_run": True}]
"""Guardrails that never act: tests move rollouts themselves."""

KEYS = """
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

async def check(request, api_key):
    '''What a database would know: keys of clients that are no admins.'''
    known = KEYS
    if api_key == MASTER:
        return UserAPIKeyAuth(api_key=api_key, user_id="admin",
                              user_role=LitellmUserRoles.PROXY_ADMIN)
    if api_key in known:
        return UserAPIKeyAuth(api_key=api_key, key_alias=known[api_key], user_id=known[api_key],
                              user_role=LitellmUserRoles.INTERNAL_USER)
    raise ProxyException("unknown key", "auth_error", "key", 401)
"""
"""LiteLLM's own way to bring keys without a database."""

ALL_NEW = {"steps": [{"weight": 100, "for": "10h"}], "bake": "10h", "holdback": 0}
"""Every new conversation goes to the candidate."""


@dataclass(frozen=True)
class Svc:
    """A service of a test's world.

    Attributes:
        name: its name.
        prefix: LiteLLM's provider prefix.
        blue: deployments in blue; green: in green.
        params: further ``litellm_params`` of all deployments.
        rollout: its plan.
        more: further keys of its policy.
    """

    name: str
    prefix: str = "openai"
    blue: int = 1
    green: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    rollout: Mapping[str, Any] = field(default_factory=lambda: ALL_NEW)
    more: Mapping[str, Any] = field(default_factory=dict)
    mode: str | None = None

    def ids(self) -> list[str]:
        """Ids of its deployments."""
        return [
            f"{self.name}-{slot}-{n}"
            for slot, count in (("blue", self.blue), ("green", self.green))
            for n in range(1, count + 1)
        ]

    def deployments(self, engines: Engines) -> list[dict[str, Any]]:
        """Its part of LiteLLM's model list."""
        found = []
        for name in self.ids():
            slot = "blue" if "-blue-" in name else "green"
            url = getattr(engines, slot).url
            info = {"id": name, "service": self.name, "slot": slot}
            if self.mode:
                info["mode"] = self.mode
            found.append(
                {
                    "model_name": self.name if slot == "blue" else f"{self.name}.green",
                    "litellm_params": {
                        "model": f"{self.prefix}/{name}",
                        "api_base": f"{url}/v1",
                        "api_key": "none",
                        **self.params,
                    },
                    "model_info": info,
                }
            )
        return found

    def policy(self) -> dict[str, Any]:
        """Its part of the policy."""
        return {
            "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}},
            "stable": "v1",
            "sessions": {"grace": "0s"},
            "rollout": dict(self.rollout),
            "guardrails": QUIET,
            **self.more,
        }


def world(
    name: str,
    services: Iterable[Svc],
    engines: Engines,
    *,
    router: Mapping[str, Any] | None = None,
    litellm: Mapping[str, Any] | None = None,
    extra: Iterable[Mapping[str, Any]] = (),
    top: Mapping[str, Any] | None = None,
    callback: bool = True,
    observe: bool = False,
    workers: int = 1,
    keys: Mapping[str, str] | None = None,
    **env: str,
) -> Setup:
    """Return a proxy's set-up.

    Args:
        name: for people.
        services: its services.
        engines: where its deployments are.
        router: LiteLLM's router_settings; litellm: its litellm_settings.
        extra: further deployments of LiteLLM that belong to no service.
        top: further keys of the policy.
        callback: whether LiteLLM is told to load Coalmine.
        observe: whether there is no policy.
        workers: worker processes.
        keys: aliases of clients' keys; without any, LiteLLM knows the admin's only.
        env: further environment.
    """
    services = list(services)
    config = {
        "model_list": [*(d for s in services for d in s.deployments(engines)), *extra],
        "litellm_settings": {
            **({"callbacks": ["coalmine.plugin"]} if callback else {}),
            **(litellm or {}),
        },
        "router_settings": {"num_retries": 0, **(router or {})},
        "general_settings": {"master_key": MASTER_KEY},
    }
    files = {}
    if keys:
        config["general_settings"]["custom_auth"] = "keys.check"
        files["keys.py"] = KEYS.replace("KEYS", repr(dict(keys))).replace(
            "MASTER", repr(MASTER_KEY)
        )
    policy = {"services": {s.name: s.policy() for s in services}, **(top or {})}
    return setup(
        name,
        config,
        None if observe or not callback else policy,
        workers=workers,
        files=files,
        **env,
    )
