"""What we need of the running proxy: its router, its key check, a tiny completion.

Everything here looks LiteLLM's objects up when it is called, because the proxy makes them after the
callbacks are loaded and may replace them.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from litellm.proxy import proxy_server
from litellm.proxy._types import LitellmUserRoles, ProxyException
from starlette.exceptions import HTTPException
from starlette.requests import Request

from coalmine.control.access import Forbidden
from coalmine.control.commands import Probe
from coalmine.gateway.causes import in_words
from coalmine.gateway.fleet import Deployment
from coalmine.state import StateUnreachable

log = logging.getLogger("coalmine.litellm")

PROBE_TIMEOUT = 20.0
"""Seconds that a probe's completion may take; a cold engine is not warm."""


STOP = 5.0
"""Seconds that our end may hold up LiteLLM's."""


def model_list() -> list[Deployment]:
    """Return LiteLLM's deployments, empty before the router is there."""
    router = proxy_server.llm_router
    return list(router.model_list) if router is not None else []


def resolved_group(model: Any) -> str | None:
    """Return the model group that a request's model names, aliases resolved."""
    if not isinstance(model, str):
        return None
    router = proxy_server.llm_router
    alias = (router.model_group_alias or {}).get(model) if router is not None else None
    if isinstance(alias, dict):
        alias = alias.get("model")
    return alias if isinstance(alias, str) else model


def usual_fallbacks(model: str) -> list[Any]:
    """Return the fallbacks that the proxy is configured with for a group, in the list form."""
    router = proxy_server.llm_router
    for entry in (router.fallbacks if router is not None else None) or []:
        if isinstance(entry, dict):
            for group in (model, "*"):
                if group in entry:
                    return list(entry[group])
    return []


def usual_retries() -> int:
    """Return how often the proxy retries a request."""
    router = proxy_server.llm_router
    retries = getattr(router, "num_retries", 0) if router is not None else 0
    return retries if isinstance(retries, int) else 0


async def cooled_down() -> frozenset[str]:
    """Return the ids of deployments that LiteLLM has cooled down."""
    from litellm.router_utils.cooldown_handlers import async_get_cooldown_deployments

    router = proxy_server.llm_router
    if router is None:
        return frozenset()
    found = await async_get_cooldown_deployments(
        litellm_router_instance=router, parent_otel_span=None
    )
    return frozenset(found)


async def probe(deployment: Deployment) -> Probe:
    """Ask one deployment for a real, tiny answer. Not counted: it bypasses the client's path."""
    info = deployment.get("model_info") or {}
    name = str(info.get("id"))
    router = proxy_server.llm_router
    if router is None:
        return Probe(name, "the proxy has no router yet")
    common: dict[str, Any] = {
        "model": name, "num_retries": 0, "timeout": PROBE_TIMEOUT,
        "cache": {"no-cache": True, "no-store": True}, "disable_fallbacks": True,
    }
    try:
        if info.get("mode") == "embedding":
            call = router.aembedding(input=["ping"], **common)
        else:
            call = router.acompletion(
                messages=[{"role": "user", "content": "ping"}], max_tokens=1, **common
            )
        await asyncio.wait_for(call, PROBE_TIMEOUT + 1)
    except Exception as error:  # noqa: BLE001  # whatever it is, the slot does not answer
        why = in_words(error)
        log.info("probe of %s failed: %s (%s)", name, why, type(error).__name__)
        return Probe(name, why)
    return Probe(name)


OURS = frozenset({"fallbacks", "num_retries", "litellm_logging_obj", "proxy_server_request",
                  "secret_fields", "litellm_call_id"})
"""Fields of a request that a second call of the router must not take over."""


STREAMS = {
    "chat": "acompletion",
    "completion": "atext_completion",
    "messages": "aanthropic_messages",
    "responses": "aresponses",
}
"""The router's call by kind of turn."""


async def second_stream(kind: str, group: str, data: dict[str, Any]) -> Any:
    """Return a new stream for the same request; our filter chooses again. None where we cannot."""
    call = getattr(proxy_server.llm_router, STREAMS.get(kind, ""), None)
    if call is None:
        return None
    again = {name: value for name, value in data.items() if name not in OURS}
    again.update(model=group, stream=True)
    return await call(**again)


async def admin_of(request: Request, token: str) -> str | None:
    """Return the name of the proxy admin whose key `token` is, None when it is nobody's.

    Raises:
        Forbidden: it is a known key, but no proxy admin's.
        StateUnreachable: LiteLLM could not say, because its database is out of reach.
    """
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    if proxy_server.master_key is None:
        raise Forbidden(
            "this proxy has no master key, so nobody is its admin",
            "set general_settings.master_key, or name operators in the policy",
        )
    try:
        known = await user_api_key_auth(request=_without_body(request), api_key=f"Bearer {token}")
    except (ProxyException, HTTPException) as error:
        code = int(getattr(error, "code", None) or getattr(error, "status_code", 0) or 0)
        if code == 403:
            raise Forbidden("this key may not use Coalmine", "use a proxy admin's key") from error
        if code >= 500 and proxy_server.prisma_client is not None:
            raise StateUnreachable("LiteLLM could not check the key") from error
        return None
    except Exception as error:
        # Without a database LiteLLM raises bare exceptions for keys that nobody knows.
        if proxy_server.prisma_client is not None:
            raise StateUnreachable("LiteLLM could not check the key") from error
        return None
    if known.user_role != LitellmUserRoles.PROXY_ADMIN:
        raise Forbidden("this key is no proxy admin's", "use a proxy admin's key")
    # LiteLLM's name for the holder of the master key says nothing to people.
    return "admin" if known.user_id in (None, "default_user_id") else str(known.user_id)


def _without_body(request: Request) -> Request:
    """Return the request as LiteLLM's key check may see it.

    It reads the body as a call of a model; one that is no JSON object would be a wrong key.
    """

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({**request.scope, "parsed_body": None}, receive)


def at_shutdown(stop: Callable[[], None]) -> bool:
    """Let LiteLLM call `stop`, in a thread, when a worker has drained; False where it cannot.

    It has no hook for that, and ends by a signal, past ``atexit``: what it calls last is wrapped.
    Without it a stop is found out by silence, as a kill is. Whatever becomes of `stop`, LiteLLM
    ends.
    """
    known = getattr(proxy_server, "proxy_shutdown_event", None)
    if known is None:
        log.warning("this LiteLLM's end cannot be seen: other workers learn of it after seconds")
        return False

    @functools.wraps(known)
    async def ended(*arguments: Any, **named: Any) -> Any:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def run() -> None:
            try:
                stop()
            except Exception:
                log.exception("Coalmine's own end has failed")
            with suppress(RuntimeError):  # we were late, and the loop has ended
                loop.call_soon_threadsafe(done.set)

        try:
            # A daemon: for threads of its own the loop waits when it ends, however long they take.
            threading.Thread(target=run, name="coalmine-stop", daemon=True).start()
            await asyncio.wait_for(done.wait(), STOP)
        except asyncio.TimeoutError:
            log.warning("the shared state does not answer: stopped without telling it")
        except Exception:
            log.exception("Coalmine's own end could not be waited for")
        finally:
            await known(*arguments, **named)

    proxy_server.proxy_shutdown_event = ended
    return True


def mount(router: Any) -> None:
    """Put our routes first into the proxy's app.

    Behind LiteLLM's lazy routes, each worker's first call would stand still for a second while all
    of them are built, right when someone rolls back (measured).
    """
    app = proxy_server.app
    before = list(app.router.routes)
    app.include_router(router)
    ours = [route for route in app.router.routes if route not in before]
    app.router.routes[:] = [*ours, *before]
