"""`python -m coalmine.sim.as_vllm`: a simulated engine behind vLLM's own command line.

For the units that run vLLM on GPU hosts, tried on hosts without a GPU. Like vLLM it reads its
model's folder, ends when there is none, answers to ``--served-model-name``, and asks for
``VLLM_API_KEY``. The folder's ``release.json``, ``{"release": "v1"}``, says which release answers;
more fields are options of :func:`coalmine.sim.engine.create_engine`, as in ``{"release": "v1",
"tokens": 40, "faults": {"start_after": 5}}``. Flags of vLLM that mean nothing here are left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from coalmine.sim.certificate import Certificate
from coalmine.sim.engine import create_engine
from coalmine.sim.faults import Faults
from coalmine.sim.server import serve

OPEN = ("/health", "/metrics", "/sim/")
"""What vLLM answers without a key, and the faults' switch."""


class _Key:
    """Asks for the key, as vLLM does before it reads a request."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not scope["path"].startswith(OPEN):
            given = HTTPConnection(scope).headers.get("authorization", "").encode()
            if not secrets.compare_digest(given, self._wanted):
                app = JSONResponse({"error": "Unauthorized"}, 401)
        await app(scope, receive, send)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 1 when port or model cannot be used."""
    command = argparse.ArgumentParser(prog="python -m coalmine.sim.as_vllm", allow_abbrev=False)
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--served-model-name", nargs="+", required=True, metavar="NAME")
    command.add_argument("--host", default="0.0.0.0")
    command.add_argument("--port", type=int, default=8000)
    command.add_argument("--shutdown-timeout", type=int, default=0)
    command.add_argument("--ssl-certfile", type=Path)
    command.add_argument("--ssl-keyfile", type=Path)
    command.add_argument("--enable-ssl-refresh", action="store_true")
    options, _ = command.parse_known_args(arguments)
    try:
        app = _engine(options.model, options.served_model_name)
    except (OSError, ValueError) as error:
        print(f"cannot load {options.model}: {error}", file=sys.stderr)
        return 1
    tls = Certificate(options.ssl_certfile, options.ssl_keyfile, options.enable_ssl_refresh)
    return serve(app, options.host, options.port, shutdown_timeout=options.shutdown_timeout,
                 tls=tls if options.ssl_certfile else None)


def _engine(model: Path, names: Sequence[str]) -> ASGIApp:
    told: dict[str, Any] = json.loads((model / "release.json").read_text(encoding="utf-8"))
    release = told.pop("release", None)
    if not isinstance(release, str):
        raise ValueError("release.json names no release")
    faults = Faults.from_dict(told.pop("faults", {}))
    try:
        app: Starlette = create_engine(names[0], release, seed=told.pop("seed", 1),
                                       served_names=names, faults=faults, **told)
    except TypeError as error:
        raise ValueError(f"release.json: {error}") from error
    key = os.environ.get("VLLM_API_KEY", "")
    return _Key(app, key) if key else app


if __name__ == "__main__":
    sys.exit(main())
