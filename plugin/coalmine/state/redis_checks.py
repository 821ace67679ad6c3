"""Whether a Redis keeps what it is given. One that may lose the state by itself is refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import redis

from coalmine.state.errors import StateRefused

log = logging.getLogger("coalmine.state")

OLDEST = (6, 2)

Execute = Callable[..., Any]


class ServerChecks:
    """Looks at the server's settings after each connect; each warning is given once."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def check(self, execute: Execute) -> None:
        """Check the server behind `execute`.

        Raises:
            StateRefused: it is too old, a replica, part of a cluster, or evicts any key.
            redis.RedisError: no answer.
        """
        self._check_role(execute)
        policy = self._setting(execute, "maxmemory-policy")
        if policy.startswith("allkeys-"):
            raise StateRefused(
                f"Redis may throw the state away: its maxmemory-policy is {policy}",
                "set it to noeviction, or give Coalmine a Redis of its own",
            )
        if policy.startswith("volatile-"):
            self._warn(f"Redis may throw pins away when it is full: maxmemory-policy is {policy}")
        if self._setting(execute, "appendonly") == "no":
            self._warn("Redis may lose the last changes when it restarts: appendonly is off")

    def _check_role(self, execute: Execute) -> None:
        try:
            info = execute("INFO")
        except redis.ResponseError as error:
            self._warn(f"the version and role of Redis are not checked: {error}")
            return
        told = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version")))
        if told and (int(told[1]), int(told[2])) < OLDEST:
            raise StateRefused(
                f"this Redis is version {info.get('redis_version')}", "6.2 or newer is needed"
            )
        if info.get("redis_mode") == "cluster":
            raise StateRefused(
                "Redis Cluster is not supported: a rollback would not be one atomic act",
                "use a single Redis with a replica",
            )
        if info.get("role") == "slave":
            raise StateRefused("this Redis is a replica", "name the primary in the URL")

    def _setting(self, execute: Execute, name: str) -> str:
        try:
            reply = execute("CONFIG", "GET", name)
        except redis.ResponseError as error:
            self._warn(f"the settings of Redis are not checked, it must not evict keys: {error}")
            return ""
        if isinstance(reply, dict):
            reply = [part for pair in reply.items() for part in pair]
        value = reply[1] if len(reply) > 1 else b""
        return value.decode() if isinstance(value, bytes) else str(value)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
