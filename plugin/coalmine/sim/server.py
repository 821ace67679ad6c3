"""`python -m coalmine.sim`: one simulated engine in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from coalmine.sim.certificate import Certificate
from coalmine.sim.engine import create_engine
from coalmine.sim.faults import Faults

# Longer than any pooling client keeps an idle connection, so that none is closed under its hands.
_KEEP_ALIVE_SECONDS = 120


class _Server(uvicorn.Server):
    """uvicorn, telling when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None],
                 tls: Certificate | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._tls = tls
        self._following: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._tls is not None and self.config.ssl is not None:
            self._following = asyncio.create_task(self._tls.follow(self.config.ssl))
        self._on_ready()


class _WithoutCuts(logging.Filter):
    """Drops the server's complaint about the responses that the cut fault leaves unfinished."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "returned without completing response" not in record.getMessage()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m coalmine.sim",
        description="A simulated vLLM engine. Prints 'ready URL' when it listens.",
    )
    result.add_argument("--name", required=True, help="what this engine is called, blue")
    result.add_argument("--release", required=True, help="the release it runs, v1")
    result.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    result.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    result.add_argument("--seed", type=int, default=1, help="of words and faults, default 1")
    result.add_argument(
        "--served-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a model name to answer to, may be repeated; default is the release",
    )
    result.add_argument("--ttft", type=float, default=0.02, help="seconds to the first token")
    result.add_argument("--inter-token", type=float, default=0.005, help="seconds between tokens")
    result.add_argument("--tokens", type=int, default=12, help="length of an answer")
    result.add_argument("--faults", default="{}", help="JSON object, as PUT /sim/faults takes it")
    result.add_argument("--port-file", type=Path, help="write the port here when it listens")
    result.add_argument(
        "--shutdown-timeout",
        type=int,
        default=2,
        help="seconds that requests in flight may go on after SIGTERM, default 2",
    )
    result.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="end when standard input is closed, which it is when the parent ends",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 1 when the port is taken, 2 for a bad call."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        app = create_engine(
            options.name,
            options.release,
            seed=options.seed,
            served_names=options.served_name,
            ttft=options.ttft,
            inter_token=options.inter_token,
            tokens=options.tokens,
            faults=Faults.from_dict(json.loads(options.faults)),
        )
    except ValueError as error:
        command.error(str(error))
    return serve(app, options.host, options.port, shutdown_timeout=options.shutdown_timeout,
                 port_file=options.port_file, end_with_stdin=options.end_with_stdin)


def serve(app: ASGIApp, host: str, port: int, *, shutdown_timeout: int,
          port_file: Path | None = None, end_with_stdin: bool = False,
          tls: Certificate | None = None) -> int:
    """Serve an engine until SIGTERM or SIGINT; 0 then, 1 for a port or certificate of no use."""
    try:
        listener = _listen(host, port)
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error}", file=sys.stderr)
        return 1
    port = listener.getsockname()[1]

    def ready() -> None:
        if port_file is not None:
            _write_whole(port_file, f"{port}\n")
        print(f"ready {'https' if tls else 'http'}://{host}:{port}", flush=True)

    config = _config(app, shutdown_timeout, tls)
    try:
        config.load()
    except OSError as error:
        print(f"cannot use the certificate: {error}", file=sys.stderr)
        return 1
    server = _Server(config, ready, tls)
    if end_with_stdin:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    # uvicorn raises the signal again once it has shut down; that is then an ordinary end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server.run(sockets=[listener])
    return 0


def _config(app: ASGIApp, shutdown_timeout: int, tls: Certificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        lifespan="off",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=shutdown_timeout,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    # After Config: it sets logging up anew.
    logging.getLogger("uvicorn.error").addFilter(_WithoutCuts())
    return config


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # So that an engine can come back at once on the port it had.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _write_whole(path: Path, text: str) -> None:
    """Write so that nobody ever reads half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def _end_with_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 1024):
        pass
    # Nobody is left who could want the answers in flight.
    server.force_exit = True
    server.should_exit = True
