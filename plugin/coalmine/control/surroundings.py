"""What the HTTP API needs of the gateway, and what all its handlers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from coalmine.control.access import EVERYTHING, Person, Unauthorized, bearer, operator_of
from coalmine.control.bodies import clean
from coalmine.control.commands import Commands
from coalmine.control.policy_report import PolicyReport
from coalmine.release import CoalmineError
from coalmine.rollout.policy import Policy

T = TypeVar("T")

log = logging.getLogger("coalmine.api")


@dataclass(frozen=True)
class Surroundings:
    """What the API needs of the gateway.

    Attributes:
        commands: the commands.
        applied: the follower.
        policy: returns the policy in force.
        admin: returns the name of the LiteLLM proxy admin whose key this is, None when it is no
            admin's; raises Forbidden when it is a known key of somebody else.
        metrics: returns the exposition text of this gateway.
        health: returns the document of healthz and whether all is well.
        metrics_token: returns the token that may read the metrics, None without one.
        alert_token: returns the token that alerts may use, None without one.
        executor: where blocking calls run.
        wall: unix seconds.
        report: returns how the policy file stands.
        deployments: returns this gateway's figures, a document for each deployment.
    """

    commands: Commands
    applied: Any
    policy: Callable[[], Policy | None]
    admin: Callable[[Request, str], Awaitable[str | None]]
    metrics: Callable[[], str]
    health: Callable[[], tuple[dict[str, Any], bool]]
    metrics_token: Callable[[], str | None]
    alert_token: Callable[[], str | None]
    executor: Executor
    wall: Callable[[], float]
    report: Callable[[], PolicyReport] = PolicyReport
    deployments: Callable[[], list[dict[str, Any]]] = list

    async def threaded(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call it in a thread: LiteLLM's loop never waits for the state."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, lambda: call(*arguments, **named))

    async def person(self, request: Request, action: str) -> Person:
        """Return who asks.

        Raises:
            Unauthorized: no key, or one that nobody knows.
            Forbidden: one that may not do `action`.
        """
        token = bearer(request.headers.get("authorization"))
        if token is None:
            raise Unauthorized("no key", "send Authorization: Bearer KEY")
        who = operator_of(token, self.policy())
        if who is None:
            admin = await self.admin(request, token)
            if admin is None:
                raise Unauthorized("this key is not known", "a proxy admin's, or an operator's of "
                                   "the policy")
            who = Person(clean(admin), EVERYTHING)
        who.demand(action)
        return who


def secret(read: Callable[[], str | None]) -> str | None:
    """Return a secret; one whose variable is not set is nobody's, and nobody is told which."""
    try:
        return read()
    except CoalmineError as error:
        log.warning("%s", error)
        return None
