"""The HTTP API, on the proxy itself.

Handlers only translate: header and body in, a command, JSON out. What blocks runs in threads, so
that LiteLLM's loop never waits for the state.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from coalmine.control.access import (
    EVERYTHING,
    Forbidden,
    Person,
    Unauthorized,
    bearer,
    operator_of,
    same_token,
)
from coalmine.control.commands import Commands, Conflict, Done, NotFound
from coalmine.control.controller import published_name
from coalmine.control.document import (
    ErrorDocument,
    HistoryDocument,
    ServiceDocument,
    ServicesDocument,
)
from coalmine.control.status import moment, service_document
from coalmine.release import CoalmineError, Slot
from coalmine.rollout.policy import Name, Policy
from coalmine.rollout.service import Service
from coalmine.rollout.transitions import Refused
from coalmine.state import StateError, StateUnreachable

T = TypeVar("T")

log = logging.getLogger("coalmine.api")

BODY_CAP = 64 * 1024
"""Bytes of a command's body that are read; no command is larger."""

ALERTS_CAP = 1024 * 1024
"""Bytes of an alert's body that are read."""

TEXT_CAP = 2000
"""Characters of a reason that are kept."""


class BadRequest(CoalmineError):
    """A body that cannot be used."""

    code = "bad_request"


STATUS: dict[type[CoalmineError], int] = {
    BadRequest: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Refused: 409,
    StateError: 503,
    CoalmineError: 500,
}
"""HTTP status by error; a subclass has its nearest ancestor's. A test walks all of them."""


def status_of(error: CoalmineError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def clean(text: Any) -> Any:
    """Return a text as any store can keep it: JSON may carry halves of characters."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


class CommandBody(BaseModel):
    """The body of a command; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    release: Name | None = Field(None, description="For start: the release to ship.")
    reason: Annotated[str, BeforeValidator(clean)] = Field(
        "", max_length=TEXT_CAP, description="Why, for the log."
    )
    epoch: int | None = Field(None, description="Do it only at this epoch, else 409.")
    full: bool = Field(False, description="For promote: straight to the last step.")
    to: Name | None = Field(None, description="For rollback in idle: the release to go back to.")


class ReleaseBody(BaseModel):
    """The body that registers a release."""

    model_config = ConfigDict(extra="forbid")

    slot: Slot
    digest: str | None = Field(None, pattern=r"^[a-z0-9]+:[0-9a-f]{8,128}$")


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


def error_response(error: CoalmineError) -> JSONResponse:
    """Return an error as the contract has it."""
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
    return JSONResponse(
        {"error": {"code": error.code, "message": error.message, "hint": error.hint}},
        status_code=status_of(error), headers=headers,
    )


def build_api(around: Surroundings) -> APIRouter:
    """Return the routes below ``/coalmine``."""
    router = APIRouter(prefix="/coalmine", tags=["coalmine"])
    api = _Api(around)

    def add(path: str, handler: Handler, method: str, summary: str,
            body: type[BaseModel] | None = None, answer: type[BaseModel] | None = None) -> None:
        extra = {"requestBody": {"content": {"application/json": {
            "schema": body.model_json_schema()}}}} if body else None
        answers: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorDocument}}
        if answer is not None:
            answers[200] = {"model": answer}
        router.add_api_route(path, handler, methods=[method], summary=summary,
                             openapi_extra=extra, responses=answers, response_model=None)

    # Names of services may hold slashes, so the longer paths come first.
    one = "/api/services/{service:path}"
    add("/api/services", api.services, "GET", "All services", answer=ServicesDocument)
    add(f"{one}/history", api.history, "GET", "The log of changes", answer=HistoryDocument)
    for action in ("start", "pause", "resume", "promote", "rollback"):
        add(f"{one}/{action}", api.command(action), "POST", f"{action.capitalize()} a rollout",
            CommandBody, ServiceDocument)
    add(f"{one}/releases/{{release:path}}", api.register, "PUT", "Register a release", ReleaseBody,
        ServiceDocument)
    add(one, api.service, "GET", "One service", answer=ServiceDocument)
    add("/metrics", api.metrics, "GET", "Metrics of this gateway, for Prometheus")
    add("/healthz", api.healthz, "GET", "Whether Coalmine itself is well")
    add("/alertmanager", api.alertmanager, "POST",
        "Alertmanager's webhook: may only pause and roll back")
    return router


Handler = Callable[..., Awaitable[Response]]


def _told(handler: Callable[..., Awaitable[Any]]) -> Handler:
    """Answer with what `handler` returns, or with the error that it raises."""

    @functools.wraps(handler)
    async def answering(*arguments: Any, **named: Any) -> Response:
        try:
            found = await handler(*arguments, **named)
        except CoalmineError as error:
            return error_response(error)
        return found if isinstance(found, Response) else JSONResponse(found)

    return answering


async def _read(request: Request, cap: int) -> bytes:
    """Return the body; one that is too large is not read to its end."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > cap:
            raise BadRequest(f"the body has more than the {cap} bytes that are allowed")
    return bytes(raw)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


async def _body(request: Request, model: type[BaseModel]) -> Any:
    raw = await _read(request, BODY_CAP)
    try:
        return model.model_validate(_json(raw) if raw.strip() else {})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'body'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise BadRequest(problems, f"fields are {', '.join(model.model_fields)}") from error


def _secret(read: Callable[[], str | None]) -> str | None:
    """Return a secret; one whose variable is not set is nobody's, and nobody is told which."""
    try:
        return read()
    except CoalmineError as error:
        log.warning("%s", error)
        return None


class _Api:
    """The handlers."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def _threaded(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._around.executor, lambda: call(*arguments, **named)
        )

    async def _person(self, request: Request, action: str) -> Person:
        token = bearer(request.headers.get("authorization"))
        if token is None:
            raise Unauthorized("no key", "send Authorization: Bearer KEY")
        who = operator_of(token, self._around.policy())
        if who is None:
            admin = await self._around.admin(request, token)
            if admin is None:
                raise Unauthorized("this key is not known")
            who = Person(clean(admin), EVERYTHING)
        who.demand(action)
        return who

    def _gathered(self, service: Service) -> dict[str, Any]:
        around, state = self._around, self._around.applied.state
        published, workers = None, []
        if state is not None:
            try:
                published = state.published(published_name(service.name))
                workers = state.workers()
            except StateError as error:
                # What this worker applies is still worth showing; the figures are null then.
                log.warning("status without figures: %s", error)
        return service_document(service, published, workers, around.wall())

    def _answer(self, done: Done) -> dict[str, Any]:
        service = self._around.commands.known(done.service.name)
        document = self._gathered(
            service if service.epoch >= done.service.epoch else done.service
        )
        document["changed"] = done.changed
        if done.note:
            document["note"] = done.note
        return document

    # reading -----------------------------------------------------------------------------------

    @_told
    async def services(self, request: Request) -> Any:
        """Tell of all services."""
        await self._person(request, "read")
        found = list(self._around.applied.services.values())
        return {"services": [await self._threaded(self._gathered, each) for each in found]}

    @_told
    async def service(self, service: str, request: Request) -> Any:
        """Tell of one service."""
        await self._person(request, "read")
        return await self._threaded(self._gathered, self._around.commands.known(service))

    @_told
    async def history(self, service: str, request: Request) -> Any:
        """Tell what changed."""
        await self._person(request, "read")
        self._around.commands.known(service)
        asked = request.query_params.get("limit", "200")
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise BadRequest(f"limit={asked!r} is no number of entries", "write limit=200")
        state = self._around.applied.state
        if state is None:
            raise StateUnreachable("the shared state has not been reached yet")
        limit = max(1, min(int(asked), 10_000))
        entries = await self._threaded(state.history, service, limit)
        return {"entries": [
            {"at": moment(e.at), "who": e.who, "action": e.action, "reason": e.reason,
             "before": e.before, "after": e.after, "figures": e.figures}
            for e in entries
        ]}

    # commands ----------------------------------------------------------------------------------

    def command(self, action: str) -> Handler:
        """Return the handler of one command."""

        @_told
        async def handler(service: str, request: Request) -> Any:
            who = (await self._person(request, action)).name
            body: CommandBody = await _body(request, CommandBody)
            self._around.commands.known(service)
            return await self._threaded(self._answer, await self._do(action, service, body, who))

        handler.__name__ = f"{action}_service"
        return handler

    async def _do(self, action: str, service: str, body: CommandBody, who: str) -> Done:
        commands = self._around.commands
        if action == "start":
            if body.release is None:
                raise BadRequest("release is missing", 'send {"release": "v2"}')
            await commands.check_start(service, body.release)
            return await self._threaded(commands.start, service, body.release, who, body.reason,
                                        body.epoch)
        if action == "pause":
            return await self._threaded(commands.pause, service, who, body.reason, body.epoch)
        if action == "resume":
            return await self._threaded(commands.resume, service, who, body.reason, body.epoch)
        if action == "promote":
            return await self._threaded(commands.promote, service, who, body.reason, body.epoch,
                                        full=body.full)
        await commands.check_back(service, body.to)
        return await self._threaded(commands.rollback, service, who, body.reason, body.to)

    @_told
    async def register(self, service: str, release: str, request: Request) -> Any:
        """Register a release."""
        who = (await self._person(request, "register")).name
        body: ReleaseBody = await _body(request, ReleaseBody)
        try:
            checked = CommandBody(release=release).release
        except ValidationError as error:
            raise BadRequest(f"release {release!r} cannot be a name") from error
        done = await self._threaded(self._around.commands.register, service, checked, body.slot,
                                    body.digest, who)
        return await self._threaded(self._answer, done)

    # machines ----------------------------------------------------------------------------------

    @_told
    async def metrics(self, request: Request) -> Any:
        """Show the metrics."""
        token = bearer(request.headers.get("authorization"))
        if not same_token(token, _secret(self._around.metrics_token)):
            await self._person(request, "read")
        text = await self._threaded(self._around.metrics)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self) -> Response:
        """Say whether Coalmine is well."""
        document, well = self._around.health()
        return JSONResponse(document, status_code=200 if well else 503)

    @_told
    async def alertmanager(self, request: Request) -> Any:
        """Do what alerts ask for; what a phase does not allow is told, and is no error.

        One alert's fault keeps none of the others back. What failed for the state's sake is an
        error in the end, so that Alertmanager sends it again.
        """
        token = bearer(request.headers.get("authorization"))
        if not same_token(token, _secret(self._around.alert_token)):
            raise Unauthorized("this token is not the alertmanager_token of the policy")
        done: list[dict[str, Any]] = []
        failed: StateError | None = None
        for alert in _firing(_json(await _read(request, ALERTS_CAP))):
            try:
                done.append(await self._alert(alert))
            except StateError as error:
                failed = error
            except CoalmineError as error:
                log.warning("an alert changed nothing: %s", error)
                done.append({"service": alert.service, "changed": False, "reason": error.message})
        if failed is not None:
            raise failed
        return {"done": done}

    async def _alert(self, alert: _Alert) -> dict[str, Any]:
        commands = self._around.commands
        who = f"alert {alert.name}"
        if alert.action == "rollback":
            await commands.check_back(alert.service, None)
            done = await self._threaded(commands.rollback, alert.service, who, alert.reason,
                                        trigger="alert")
        elif alert.action == "pause":
            done = await self._threaded(commands.pause, alert.service, who, alert.reason, None,
                                        by="alert", timebox=ALERT_TIMEBOX)
        else:
            raise BadRequest(f"label coalmine={alert.action!r}", "write pause or rollback")
        return {"service": alert.service, "changed": done.changed,
                "phase": done.service.phase.value}


ALERT_TIMEBOX = 1200.0
"""Seconds that an alert's pause waits for an answer before it rolls back."""


@dataclass(frozen=True, slots=True)
class _Alert:
    """One alert that fires."""

    name: str
    service: str
    action: str
    reason: str


def _firing(document: Any) -> list[_Alert]:
    """Return the alerts of an Alertmanager webhook that fire and name a service."""
    found = []
    try:
        for alert in document["alerts"][:100]:
            labels, notes = alert.get("labels") or {}, alert.get("annotations") or {}
            if alert.get("status") != "firing" or not labels.get("service"):
                continue
            name = clean(str(labels.get("alertname") or "alert"))[:200]
            found.append(_Alert(
                name, clean(str(labels["service"])), clean(str(labels.get("coalmine", "pause"))),
                clean(str(notes.get("summary") or f"alert {name}"))[:TEXT_CAP],
            ))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRequest("this is not an Alertmanager webhook") from error
    return found
