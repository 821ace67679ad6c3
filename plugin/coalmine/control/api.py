"""The HTTP API, on the proxy itself.

Handlers only translate: header and body in, a command, JSON out. What blocks runs in threads, so
that LiteLLM's loop never waits for the state.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError

from coalmine.control.access import bearer, same_token
from coalmine.control.alerts import take_alerts
from coalmine.control.bodies import CommandBody, ReleaseBody, body_of
from coalmine.control.commands import Done, NotFound
from coalmine.control.controller import published_name
from coalmine.control.document import (
    DeploymentsDocument,
    ErrorDocument,
    HealthDocument,
    HistoryDocument,
    ServiceDocument,
    ServicesDocument,
)
from coalmine.control.errors import BadRequest, Handler, NotAllowed, told
from coalmine.control.moments import moment
from coalmine.control.paths import Unknown, methods_at
from coalmine.control.status import service_document
from coalmine.control.surroundings import Surroundings, secret
from coalmine.rollout.service import Service
from coalmine.state import StateError

log = logging.getLogger("coalmine.api")

ACTIONS = ("start", "pause", "resume", "promote", "rollback")


def build_api(around: Surroundings) -> APIRouter:
    """Return the routes below ``/coalmine``."""
    router = APIRouter(prefix="/coalmine", tags=["coalmine"])
    api = _Api(around, router)

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
    for action in ACTIONS:
        add(f"{one}/{action}", api.command(action), "POST", f"{action.capitalize()} a rollout",
            CommandBody, ServiceDocument)
    add(f"{one}/releases/{{release:path}}", api.register, "PUT", "Register a release", ReleaseBody,
        ServiceDocument)
    add(one, api.service, "GET", "One service", answer=ServiceDocument)
    add("/api/deployments", api.deployments, "GET", "Figures of each deployment, also without a "
        "policy", answer=DeploymentsDocument)
    add("/metrics", api.metrics, "GET", "Metrics of this gateway, for Prometheus")
    add("/healthz", api.healthz, "GET", "Whether Coalmine itself is well", answer=HealthDocument)
    add("/alertmanager", api.alertmanager, "POST",
        "Alertmanager's webhook: may only pause and roll back")
    # Last: whatever else is asked below /coalmine gets an error document of ours too.
    # The prefix stands in its path: add_route puts none before it, and it would take everything.
    router.add_route(f"{router.prefix}/{{path:path}}", Unknown(router),  # type: ignore[arg-type]
                     include_in_schema=False)
    return router


class _Api:
    """The handlers."""

    def __init__(self, around: Surroundings, router: APIRouter) -> None:
        self._around = around
        self._router = router

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

    def _reported(self, document: dict[str, Any]) -> dict[str, Any]:
        """Add how the policy file stands, where that is worth telling."""
        report = self._around.report().document()
        return document if report is None else {**document, "policy": report}

    def _answer(self, done: Done) -> dict[str, Any]:
        service = self._around.commands.known(done.service.name)
        document = self._gathered(
            service if service.epoch >= done.service.epoch else done.service
        )
        document["changed"] = done.changed
        if done.note:
            document["note"] = done.note
        return self._reported(document)

    # reading -----------------------------------------------------------------------------------

    @told
    async def services(self, request: Request) -> Any:
        """Tell of all services."""
        around = self._around
        await around.person(request, "read")
        found = list(around.applied.services.values())
        return self._reported(
            {"services": [await around.threaded(self._gathered, each) for each in found]})

    @told
    async def service(self, service: str, request: Request) -> Any:
        """Tell of one service."""
        around = self._around
        await around.person(request, "read")
        try:
            known = around.commands.known(service)
        except NotFound:
            # Its name may hold slashes, so a command that was asked with GET comes here.
            others = methods_at(self._router, request.scope) - {"GET"}
            if others:
                raise NotAllowed.of("GET", request.url.path, others) from None
            raise
        return self._reported(await around.threaded(self._gathered, known))

    @told
    async def history(self, service: str, request: Request) -> Any:
        """Tell what changed."""
        around = self._around
        await around.person(request, "read")
        around.commands.known(service)
        asked = request.query_params.get("limit", "200")
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise BadRequest(f"limit={asked!r} is no number of entries", "write limit=200")
        state = around.commands.state()
        limit = max(1, min(int(asked), 10_000))
        entries = await around.threaded(state.history, service, limit)
        return {"entries": [
            {"at": moment(e.at), "who": e.who, "action": e.action, "reason": e.reason,
             "before": e.before, "after": e.after, "figures": e.figures}
            for e in entries
        ]}

    @told
    async def deployments(self, request: Request) -> Any:
        """Tell each deployment's figures."""
        around = self._around
        await around.person(request, "read")
        return self._reported({"deployments": await around.threaded(around.deployments)})

    # commands ----------------------------------------------------------------------------------

    def command(self, action: str) -> Handler:
        """Return the handler of one command."""
        around = self._around

        @told
        async def handler(service: str, request: Request) -> Any:
            who = (await around.person(request, action)).name
            body: CommandBody = await body_of(request, CommandBody)
            if action == "start":
                around.commands.demand_policy()
            around.commands.known(service)
            return await around.threaded(self._answer, await self._do(action, service, body, who))

        handler.__name__ = f"{action}_service"
        return handler

    async def _do(self, action: str, service: str, body: CommandBody, who: str) -> Done:
        commands, threaded = self._around.commands, self._around.threaded
        if action == "start":
            if body.release is None:
                raise BadRequest("release is missing", 'send {"release": "v2"}')
            await commands.check_start(service, body.release)
            return await threaded(commands.start, service, body.release, who, body.reason,
                                  body.epoch)
        if action == "pause":
            return await threaded(commands.pause, service, who, body.reason, body.epoch)
        if action == "resume":
            return await threaded(commands.resume, service, who, body.reason, body.epoch)
        if action == "promote":
            return await threaded(commands.promote, service, who, body.reason, body.epoch,
                                  full=body.full)
        await commands.check_back(service, body.to)
        return await threaded(commands.rollback, service, who, body.reason, body.to)

    @told
    async def register(self, service: str, release: str, request: Request) -> Any:
        """Register a release."""
        around = self._around
        who = (await around.person(request, "register")).name
        body: ReleaseBody = await body_of(request, ReleaseBody)
        try:
            checked = CommandBody(release=release).release
        except ValidationError as error:
            raise BadRequest(f"release {release!r} cannot be a name") from error
        done = await around.threaded(around.commands.register, service, checked, body.slot,
                                     body.digest, who)
        return await around.threaded(self._answer, done)

    # machines ----------------------------------------------------------------------------------

    @told
    async def metrics(self, request: Request) -> Any:
        """Show the metrics."""
        token = bearer(request.headers.get("authorization"))
        if not same_token(token, secret(self._around.metrics_token)):
            await self._around.person(request, "read")
        text = await self._around.threaded(self._around.metrics)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self) -> Response:
        """Say whether Coalmine is well."""
        document, well = self._around.health()
        return JSONResponse(document, status_code=200 if well else 503)

    @told
    async def alertmanager(self, request: Request) -> Any:
        """Do what alerts ask for."""
        return await take_alerts(self._around, request)
