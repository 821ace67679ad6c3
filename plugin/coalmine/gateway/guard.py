"""One guard around every hook: a fault of ours is logged, counted, and serves stable."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

log = logging.getLogger("coalmine.hooks")

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


def guarded(instead: Callable[..., Any]) -> Callable[[H], H]:
    """Return a decorator for a hook: on any fault, return ``instead(plugin, **arguments)``.

    LiteLLM turns whatever a hook raises into an error of the client's request, so nothing may
    leave; this is the one place where everything is caught.
    """

    def around(hook: H) -> H:
        @functools.wraps(hook)
        async def safe(self: Any, *arguments: Any, **named: Any) -> Any:
            try:
                return await hook(self, *arguments, **named)
            except Exception:
                log.exception("%s failed; stable is served", hook.__name__)
                self.worker.count("coalmine_faults_total", hook.__name__)
                return instead(self, *arguments, **named)

        return safe  # type: ignore[return-value]

    return around


def guarded_call(hook: Callable[..., None]) -> Callable[..., None]:
    """Guard a plain function of the hot path in the same way; instead of it nothing happens."""

    @functools.wraps(hook)
    def safe(self: Any, *arguments: Any) -> None:
        try:
            hook(self, *arguments)
        except Exception:
            log.exception("%s failed", hook.__name__)
            self.worker.count("coalmine_faults_total", hook.__name__)

    return safe


def nothing(*_: Any, **__: Any) -> None:
    """For hooks whose silence changes nothing."""
