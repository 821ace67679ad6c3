"""Errors over HTTP: which status each has, and the one form in which all of them are told."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi.responses import JSONResponse, Response

from coalmine.control.access import Forbidden, Unauthorized
from coalmine.control.commands import Conflict, NotFound, PolicyBroken
from coalmine.release import CoalmineError
from coalmine.rollout.transitions import Refused
from coalmine.state import StateError

Handler = Callable[..., Awaitable[Response]]


class BadRequest(CoalmineError):
    """A body that cannot be used."""

    code = "bad_request"


class NotAllowed(CoalmineError):
    """A path that knows other methods than the one that was used; `Allow` names them."""

    code = "method_not_allowed"

    def __init__(self, message: str, hint: str = "", allow: frozenset[str] = frozenset()) -> None:
        super().__init__(message, hint)
        self.allow = allow

    @classmethod
    def of(cls, method: str, path: str, allow: Iterable[str]) -> NotAllowed:
        """Return the error for a path that was asked with `method`."""
        known = frozenset(allow)
        return cls(f"{path} does not take {method}", f"use {' or '.join(sorted(known))}", known)


STATUS: dict[type[CoalmineError], int] = {
    BadRequest: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    NotAllowed: 405,
    Conflict: 409,
    PolicyBroken: 409,
    Refused: 409,
    StateError: 503,
    CoalmineError: 500,
}
"""HTTP status by error; a subclass has its nearest ancestor's. A test walks all of them."""


def status_of(error: CoalmineError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_response(error: CoalmineError) -> JSONResponse:
    """Return an error as the contract has it."""
    headers = {}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    allow = getattr(error, "allow", None)
    if allow:
        headers["allow"] = ", ".join(sorted(allow))
    return JSONResponse(
        {"error": {"code": error.code, "message": error.message, "hint": error.hint}},
        status_code=status_of(error), headers=headers,
    )


def told(handler: Callable[..., Awaitable[Any]]) -> Handler:
    """Answer with what `handler` returns, or with the error that it raises."""

    @functools.wraps(handler)
    async def answering(*arguments: Any, **named: Any) -> Response:
        try:
            found = await handler(*arguments, **named)
        except CoalmineError as error:
            return error_response(error)
        return found if isinstance(found, Response) else JSONResponse(found)

    return answering
