"""A simulated vLLM: the APIs it serves, and the faults it is told to have.

`create_engine` makes the ASGI application. It keeps no more of vLLM than a gateway can see.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from coalmine.sim.answer import compose
from coalmine.sim.ask import Ask
from coalmine.sim.desk import desk_routes
from coalmine.sim.faults import HEALTHY, Decision, FaultPlan, Faults, Outcome
from coalmine.sim.ledger import Ledger
from coalmine.sim.meters import Load, Meters
from coalmine.sim.refusal import Refused, engine_failure, malformed
from coalmine.sim.transport import (
    header,
    read_body,
    run_unless_gone,
    send_json,
    send_piece,
    start_stream,
)
from coalmine.sim.turn import Clock, Pace, Sleep, Turn
from coalmine.sim.visit import Visit
from coalmine.sim.wire import Wire, all_wires

# Ids of responses that a later turn may refer to; the oldest are forgotten first.
_KEPT_RESPONSES = 100_000


class Engine:
    """One simulated engine: what it serves, what it remembers, how it fails."""

    def __init__(
        self,
        name: str,
        release: str,
        *,
        seed: int,
        served_names: Sequence[str],
        pace: Pace,
        tokens: int,
        faults: Faults,
        clock: Clock,
        sleep: Sleep,
        wall: Callable[[], float],
    ) -> None:
        self.name = name
        self.release = release
        self.served_names = tuple(served_names)
        self.started = int(wall())
        self.plan = FaultPlan(seed, faults)
        self.ledger = Ledger()
        self.load = Load()
        self.meters = Meters(self.served_names[0], self.load)
        self._seed = seed
        self._pace = pace
        self._tokens = tokens
        self._clock = clock
        self._sleep = sleep
        self._wall = wall
        self._responses: dict[str, None] = {}

    def reset(self) -> None:
        """As freshly started: first draw, first faults, nothing remembered.

        The Prometheus counters go on: they may only fall when a process restarts.
        """
        self.plan.reset()
        self.ledger.reset()
        self._responses.clear()

    async def serve(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to one of the generating APIs."""
        began = self._clock()
        # Drawn before anything is awaited: the order of arrival is the order of the draws.
        decision = self.plan.next()
        entry = self.ledger.arrive(wire.path, header(scope, b"x-coalmine-session"))
        visit = Visit(self.ledger, self.load, entry)
        try:
            raw = await read_body(receive)
            if raw is not None:
                ask = self._admit(wire, raw, decision, visit)
                visit.admit(waits=decision.outcome is Outcome.HANG)
                turn = self._turn(wire, ask, decision, send, visit, began)
                await run_unless_gone(turn.run(), receive)
        except Refused as refused:
            visit.end(refused.outcome)
            await _refuse(wire, refused, send)
        finally:
            # Whoever reached its end has said so; the others were left by their client.
            visit.end(Outcome.DISCONNECT)

    def _admit(self, wire: Wire, raw: bytes, decision: Decision, visit: Visit) -> Ask:
        """The request, read; raises Refused for all that is answered before generating."""
        problem: Refused | None = None
        try:
            ask = wire.parse(_json_object(raw))
            visit.describe(ask.model, ask.last_user)
        except Refused as refused:
            problem = refused
        # vLLM asks for the key before it reads the request.
        if decision.outcome is Outcome.AUTH:
            raise Refused(401, "Unauthorized", Outcome.AUTH)
        if problem is not None:
            raise problem
        unserved = ask.model is not None and ask.model not in self.served_names
        if unserved or decision.outcome is Outcome.UNKNOWN_MODEL:
            message = f"The model `{ask.model or self.served_names[0]}` does not exist."
            raise Refused(404, message, Outcome.UNKNOWN_MODEL, param="model")
        self._check_previous(ask)
        self._check_faults(ask, decision)
        return ask

    def _check_previous(self, ask: Ask) -> None:
        previous = ask.previous_response_id
        if ask.store and previous is not None and previous not in self._responses:
            message = f"Response with id '{previous}' not found."
            raise Refused(404, message, Outcome.UNKNOWN_RESPONSE, param="response_id")

    def _check_faults(self, ask: Ask, decision: Decision) -> None:
        faults, outcome = decision.faults, decision.outcome
        if outcome is Outcome.OVERLOAD:
            raise Refused(429, "The engine is overloaded, try again later.", outcome)
        if faults.max_queued is not None and self.load.in_flight >= faults.max_queued:
            self.meters.rejected()
            message = f"Too many requests in flight: the limit is {faults.max_queued}."
            raise Refused(503, message, Outcome.REJECTED, in_stream=ask.stream)
        if outcome is Outcome.ERROR:
            raise engine_failure(outcome, faults.error_status)
        if outcome is Outcome.BAD_REQUEST:
            raise Refused(400, "This request cannot be processed.", outcome)

    def _turn(
        self, wire: Wire, ask: Ask, decision: Decision, send: Send, visit: Visit, began: float
    ) -> Turn:
        answer = compose(
            ask,
            decision,
            seed=self._seed,
            release=self.release,
            model=self.served_names[0],
            tokens=self._tokens,
            created=int(self._wall()),
            id_prefix=wire.id_prefix,
        )
        if wire.path == "/v1/responses":
            self._responses[answer.id] = None
            if len(self._responses) > _KEPT_RESPONSES:
                del self._responses[next(iter(self._responses))]
        return Turn(
            wire=wire,
            answer=answer,
            decision=decision,
            pace=self._pace.under(decision.faults),
            send=send,
            visit=visit,
            meters=self.meters,
            clock=self._clock,
            sleep=self._sleep,
            began=began,
        )


class _Endpoint:
    """An ASGI application per API, so that Starlette adds no request object of its own."""

    def __init__(self, engine: Engine, wire: Wire) -> None:
        self._engine = engine
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._engine.serve(self._wire, scope, receive, send)


def create_engine(
    name: str,
    release: str,
    *,
    seed: int,
    served_names: Sequence[str] = (),
    ttft: float = 0.02,
    inter_token: float = 0.005,
    tokens: int = 12,
    faults: Faults = HEALTHY,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
    wall: Callable[[], float] = time.time,
) -> Starlette:
    """The application of a simulated engine called `name` that runs `release`.

    `served_names` are the model names it answers to (the release's by default); the first is
    the one it gives in answers. `ttft` (arrival to first token) and `inter_token` are seconds,
    `tokens` is the length of an untruncated answer. `faults` hold until `/sim/faults` is put.
    The Engine itself is at `app.state.engine`. Raises ValueError for impossible figures.
    """
    if tokens < 1 or ttft < 0 or inter_token < 0:
        given = f"tokens={tokens}, ttft={ttft}, inter_token={inter_token}"
        raise ValueError(f"{given}: give at least one token, and seconds of 0 or more")
    engine = Engine(
        name,
        release,
        seed=seed,
        served_names=served_names or (release,),
        pace=Pace(ttft, inter_token),
        tokens=tokens,
        faults=faults,
        clock=clock,
        sleep=sleep,
        wall=wall,
    )
    routes = [
        Route(wire.path, _Endpoint(engine, wire), methods=["POST"])
        for wire in all_wires(seed, release)
    ]
    app = Starlette(routes=[*routes, *desk_routes(engine)])
    app.state.engine = engine
    return app


async def _refuse(wire: Wire, refused: Refused, send: Send) -> None:
    if refused.in_stream:
        await start_stream(send)
        await send_piece(send, wire.failure(refused), last=True)
    elif refused.outcome is Outcome.AUTH:
        # vLLM's key check stands before its APIs and knows no error shape of theirs.
        await send_json(send, refused.status, {"error": refused.message})
    else:
        await send_json(send, refused.status, wire.refusal(refused))


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise malformed(f"The request body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    return body
