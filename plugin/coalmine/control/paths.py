"""What is asked below ``/coalmine`` and is no route of ours: told as all our errors are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.routing import Match

from coalmine.control.commands import NotFound
from coalmine.control.errors import NotAllowed, error_response
from coalmine.release import CoalmineError


def methods_at(router: APIRouter, scope: Any) -> set[str]:
    """Return the methods with which another route of ours takes the path of `scope`.

    Of several the first, which is the most special one: a service's name may hold slashes, so the
    route that shows one fits whatever the commands' routes fit.
    """
    for route in router.routes:
        found, _ = route.matches(scope)
        if found is Match.PARTIAL:
            return set(getattr(route, "methods", None) or ())
    return set()


class Unknown:
    """An ASGI app that answers with our error document.

    A route of Starlette's with a function has fixed methods; with an app it takes them all.
    """

    def __init__(self, router: APIRouter) -> None:
        self._router = router

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 405 where another method would do, else 404."""
        path, method = str(scope.get("path", ""))[:200], scope.get("method", "GET")
        allowed = methods_at(self._router, scope)
        error: CoalmineError
        if allowed:
            error = NotAllowed.of(method, path, allowed)
        else:
            error = NotFound(f"{path} is no path of Coalmine's", self._hint(scope, path))
        await error_response(error)(scope, receive, send)

    def _hint(self, scope: Any, path: str) -> str:
        bare = path.rstrip("/")
        if bare != path and methods_at(self._router, {**scope, "path": bare, "method": ""}):
            return f"write {bare}, without the slash"
        return f"paths are {', '.join(self._names())}"

    def _names(self) -> Iterable[str]:
        return dict.fromkeys(
            str(getattr(route, "path", "")).replace(":path", "") for route in self._router.routes
            if getattr(route, "include_in_schema", False)
        )
