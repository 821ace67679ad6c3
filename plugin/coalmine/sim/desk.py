"""The endpoints for people and probes: models, health, metrics, and the faults' switchboard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coalmine.sim.faults import Faults
from coalmine.sim.ledger import KEPT
from coalmine.sim.transport import encode

if TYPE_CHECKING:
    from coalmine.sim.engine import Engine


def desk_routes(engine: Engine) -> list[Route]:
    """`/v1/models`, `/health`, `/metrics` and `/sim/*`."""

    async def models(_: Request) -> Response:
        if engine.plan.faults.auth:
            return _json({"error": "Unauthorized"}, 401)
        cards = [
            {
                "id": name,
                "object": "model",
                "created": engine.started,
                "owned_by": "vllm",
                # The weights' path tells which release is loaded, under whatever names.
                "root": f"/models/{engine.release}",
                "parent": None,
                "max_model_len": 4096,
            }
            for name in engine.served_names
        ]
        return _json({"object": "list", "data": cards})

    async def health(_: Request) -> Response:
        # 200 whatever the faults: vLLM's health says nothing about its answers.
        return Response()

    async def metrics(_: Request) -> Response:
        return Response(engine.meters.render(), media_type="text/plain; version=0.0.4")

    async def get_faults(_: Request) -> Response:
        return _json(engine.plan.faults.to_dict())

    async def put_faults(request: Request) -> Response:
        try:
            engine.plan.set(Faults.from_dict(json.loads(await request.body())))
        except ValueError as error:
            return _json({"error": {"message": str(error), "code": 400}}, 400)
        return _json(engine.plan.faults.to_dict())

    async def requests(request: Request) -> Response:
        last = request.query_params.get("last", str(KEPT))
        if not last.isdecimal():
            message = f"last={last!r}: give how many of the last requests to list"
            return _json({"error": {"message": message, "code": 400}}, 400)
        who = {"name": engine.name, "release": engine.release}
        return _json({**who, **engine.ledger.snapshot(int(last))})

    async def reset(_: Request) -> Response:
        engine.reset()
        return _json({"reset": True})

    return [
        Route("/v1/models", models),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/sim/faults", get_faults, methods=["GET"]),
        Route("/sim/faults", put_faults, methods=["PUT"]),
        Route("/sim/requests", requests),
        Route("/sim/reset", reset, methods=["POST"]),
    ]


def _json(payload: dict[str, Any], status: int = 200) -> Response:
    # Not Starlette's own JSON: it fails on half a surrogate pair, which a user's text may hold.
    return Response(encode(payload), status, media_type="application/json")
