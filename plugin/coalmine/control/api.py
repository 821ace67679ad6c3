"""The HTTP API, on the proxy itself.

Handlers only translate: header and body in, a command, JSON out. What blocks runs in threads, so
that LiteLLM's loop never waits for the state.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
from coalmine.control.status import moment, service_document
from coalmine.release import CoalmineError, Slot
from coalmine.rollout.policy import Name, Policy
from coalmine.rollout.transitions import Refused
from coalmine.state import StateError

T = TypeVar("T")

log = logging.getLogger("coalmine.api")

BODY_CAP = 64 * 1024
"""Bytes of a body that are read; no command is larger."""


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


class CommandBody(BaseModel):
    """The body of a command; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    release: Name | None = Field(None, description="For start: the release to ship.")
    reason: str = Field("", max_length=2000, description="Why, for the log.")
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

    async def threaded(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(around.executor, lambda: call(*arguments, **named))

    async def person(request: Request, action: str) -> Person:
        token = bearer(request.headers.get("authorization"))
        if token is None:
            raise Unauthorized("no key", "send Authorization: Bearer KEY")
        who = operator_of(token, around.policy())
        if who is None:
            admin = await around.admin(request, token)
            if admin is None:
                raise Unauthorized("this key is not known")
            who = Person(admin, EVERYTHING)
        who.demand(action)
        return who

    async def body_of(request: Request, model: type[BaseModel]) -> Any:
        raw = await request.body()
        if len(raw) > BODY_CAP:
            raise BadRequest(f"the body has {len(raw)} bytes, {BODY_CAP} are allowed")
        try:
            return model.model_validate(json.loads(raw) if raw.strip() else {})
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(p) for p in e['loc']) or 'body'}: {e['msg']}"
                for e in error.errors(include_input=False, include_url=False)
            )
            raise BadRequest(problems, f"fields are {', '.join(model.model_fields)}") from error
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from error

    def gathered(name: str) -> dict[str, Any]:
        service = around.commands.known(name)
        state = around.applied.state
        published, workers = None, []
        if state is not None:
            try:
                published, workers = state.published(published_name(name)), state.workers()
            except StateError as error:
                # What this worker applies is still worth showing; the figures are null then.
                log.warning("status without figures: %s", error)
        return service_document(service, published, workers, around.wall())

    def answer(done: Done) -> dict[str, Any]:
        document = gathered(done.service.name)
        document["changed"] = done.changed
        if done.note:
            document["note"] = done.note
        return document

    async def guarded(work: Awaitable[Any]) -> Response:
        try:
            return JSONResponse(await work)
        except CoalmineError as error:
            return error_response(error)

    @router.get("/api/services", summary="All services")
    async def services(request: Request) -> Response:
        async def work() -> Any:
            await person(request, "read")
            names = list(around.applied.services)
            return {"services": [await threaded(gathered, name) for name in names]}

        return await guarded(work())

    @router.get("/api/services/{service:path}/history", summary="The log of changes")
    async def history(service: str, request: Request, limit: int = 200) -> Response:
        async def work() -> Any:
            await person(request, "read")
            around.commands.known(service)
            state = around.applied.state
            if state is None:
                raise StateError("the shared state has not been reached yet")
            entries = await threaded(state.history, service, max(1, min(limit, 10_000)))
            return {"entries": [
                {"at": moment(e.at), "who": e.who, "action": e.action, "reason": e.reason,
                 "before": e.before, "after": e.after, "figures": e.figures}
                for e in entries
            ]}

        return await guarded(work())

    async def command(service: str, action: str, request: Request) -> Any:
        who = (await person(request, action)).name
        body: CommandBody = await body_of(request, CommandBody)
        commands = around.commands
        commands.known(service)
        if action == "start":
            if body.release is None:
                raise BadRequest("release is missing", 'send {"release": "v2"}')
            await commands.check_start(service, body.release)
            done = await threaded(commands.start, service, body.release, who, body.reason,
                                  body.epoch)
        elif action == "pause":
            done = await threaded(commands.pause, service, who, body.reason, body.epoch)
        elif action == "resume":
            done = await threaded(commands.resume, service, who, body.reason, body.epoch)
        elif action == "promote":
            done = await threaded(commands.promote, service, who, body.reason, body.epoch,
                                  full=body.full)
        else:
            await commands.check_back(service, body.to)
            done = await threaded(commands.rollback, service, who, body.reason, body.to)
        return await threaded(answer, done)

    for action in ("start", "pause", "resume", "promote", "rollback"):

        def route(action: str) -> Callable[..., Awaitable[Response]]:
            async def handler(service: str, request: Request) -> Response:
                return await guarded(command(service, action, request))

            handler.__name__ = f"{action}_service"
            return handler

        router.add_api_route(
            f"/api/services/{{service:path}}/{action}", route(action), methods=["POST"],
            summary=f"{action.capitalize()} a rollout",
            openapi_extra={"requestBody": {"content": {"application/json": {
                "schema": CommandBody.model_json_schema()}}}},
        )

    @router.put(
        "/api/services/{service:path}/releases/{release:path}", summary="Register a release",
        openapi_extra={"requestBody": {"content": {"application/json": {
            "schema": ReleaseBody.model_json_schema()}}}},
    )
    async def register(service: str, release: str, request: Request) -> Response:
        async def work() -> Any:
            who = (await person(request, "register")).name
            body: ReleaseBody = await body_of(request, ReleaseBody)
            try:
                checked = CommandBody(release=release).release
            except ValidationError as error:
                raise BadRequest(f"release {release!r} cannot be a name") from error
            done = await threaded(around.commands.register, service, checked, body.slot,
                                  body.digest, who)
            return await threaded(answer, done)

        return await guarded(work())

    @router.get("/api/services/{service:path}", summary="One service")
    async def one(service: str, request: Request) -> Response:
        async def work() -> Any:
            await person(request, "read")
            return await threaded(gathered, service)

        return await guarded(work())

    @router.get("/metrics", summary="Metrics of this gateway, for Prometheus")
    async def metrics(request: Request) -> Response:
        try:
            token = bearer(request.headers.get("authorization"))
            if not same_token(token, around.metrics_token()):
                await person(request, "read")
            text = await threaded(around.metrics)
        except CoalmineError as error:
            return error_response(error)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/healthz", summary="Whether Coalmine itself is well")
    async def healthz() -> Response:
        document, well = around.health()
        return JSONResponse(document, status_code=200 if well else 503)

    @router.post("/alertmanager", summary="Alertmanager's webhook: may only pause and roll back")
    async def alertmanager(request: Request) -> Response:
        async def work() -> Any:
            if not same_token(bearer(request.headers.get("authorization")), around.alert_token()):
                raise Unauthorized("this token is not the alertmanager_token of the policy")
            return await alerts(request)

        return await guarded(work())

    async def alerts(request: Request) -> Any:
        raw = await request.body()
        try:
            document = json.loads(raw)
            found = [alert for alert in document["alerts"] if alert.get("status") == "firing"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest("this is not an Alertmanager webhook") from error
        done = []
        for alert in found[:100]:
            labels = alert.get("labels") or {}
            service, action = labels.get("service"), labels.get("coalmine", "pause")
            if not service:
                continue
            if action not in ("pause", "rollback"):
                raise BadRequest(f"label coalmine={action!r}", "write pause or rollback")
            name = str(labels.get("alertname", "alert"))
            reason = str((alert.get("annotations") or {}).get("summary") or f"alert {name}")
            done.append(await threaded(_alert, around.commands, service, action, name, reason))
        return {"done": done}

    return router


def _alert(commands: Commands, service: str, action: str, name: str, reason: str
           ) -> dict[str, Any]:
    """Do what one alert asks for; what its phase does not allow is told, not an error."""
    try:
        if action == "rollback":
            done = commands.rollback(service, f"alert {name}", reason, trigger="alert")
        else:
            done = commands.pause(service, f"alert {name}", reason, None, by="alert",
                                  timebox=1200.0)
    except (Refused, NotFound) as error:
        return {"service": service, "changed": False, "reason": error.message}
    return {"service": service, "changed": done.changed, "phase": done.service.phase.value}
