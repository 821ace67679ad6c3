"""A real HTTP server that speaks Coalmine's contract, and misbehaves on request."""

from __future__ import annotations

import copy
import inspect
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner, Result

import coalmine
from coalmine.cli.main import app

KEY = "sk-operator-7f3a9c"
MIXES = "mix_stderr" in inspect.signature(CliRunner).parameters  # until click 8.2
Act = Callable[["Handler"], None]

CHAT: dict[str, Any] = {
    "service": "chat", "phase": "canary", "waiting": None, "epoch": 17, "rollout": "chat-3",
    "stable": "v1", "candidate": "v2", "weight": 5, "step": 2, "steps": 4,
    "since": "2026-03-01T10:00:00Z", "reason": "promoted by ada",
    "verdict": {
        "decision": "hold", "reason": "soak 12 of 30 min",
        "guardrails": [
            {"name": "errors", "metric": "error_rate", "status": "ok", "candidate": 0.004,
             "stable": 0.003, "against": "stable", "limit": 0.006, "evidence": 0.4,
             "sentence": "errors: error_rate 0.4 % (stable 0.3 %, limit ≤ 0.6 %)"},
            {"name": "ttft-p95", "metric": "ttft_p95", "status": "breach", "candidate": 0.812,
             "stable": 0.31, "against": "baseline", "limit": 0.403, "evidence": None,
             "sentence": "ttft-p95: ttft_p95 812 ms over 5m (…)"},
            {"name": "cost", "metric": "cost_per_request", "status": "no_data",
             "candidate": None, "stable": None, "against": None, "limit": None, "evidence": None,
             "sentence": "cost: 12 of 30 candidate conversations"},
        ],
    },
    "arms": {
        "stable": {"release": "v1", "slot": "blue", "conversations": 12041, "attempts": 30210,
                   "failures": 91, "in_flight": 14, "ttft_p50": 0.12, "ttft_p95": 0.31,
                   "ttft_p99": 0.6401},
        "candidate": {"release": "v2", "slot": "green", "conversations": 631, "attempts": 1502,
                      "failures": 6, "in_flight": 2, "ttft_p50": 0.15, "ttft_p95": 0.812,
                      "ttft_p99": None},
    },
    "workers": [
        {"id": "gw1-101", "gateway": "gw1", "epoch": 17, "seen": "2026-03-01T10:12:00.250Z"},
        {"id": "gw1-102", "gateway": "gw1", "epoch": 16, "seen": "2026-03-01T10:11:20Z"},
    ],
    "unrecognised": 0.04,
}
HISTORY = [
    {"at": "2026-03-01T10:00:00Z", "who": "ada", "action": "promote", "reason": "looks good",
     "before": {"phase": "canary", "weight": 1}, "after": {"phase": "canary", "weight": 5}},
    {"at": "2026-03-01T09:50:00Z", "who": "ada", "action": "start", "reason": "nightly",
     "before": {"phase": "idle"}, "after": {"phase": "canary", "weight": 1}},
]


class Gateway:
    """The server's side: its services, who may do what, and what it is to do next."""

    def __init__(self) -> None:
        self.services = {"chat": copy.deepcopy(CHAT)}
        self.keys = {KEY: {"read", "start", "pause", "resume", "promote", "rollback", "register"}}
        self.policy: dict[str, Any] = {}
        self.deployments: list[dict[str, Any]] | None = None
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.acts: list[Act] = []
        self.serves: str | None = ""  # who answers completions; "" is stable, None tells nobody
        self.lags = False  # whether its workers do not apply what is commanded
        self.done = threading.Event()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self, *acts: Act) -> None:
        """What the next requests get instead of a good answer."""
        self.acts += acts

    def up(self) -> None:
        """Listen; after the first time on the same port."""
        gateway = self

        class Bound(Handler):
            world = gateway

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Bound)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Handler(BaseHTTPRequestHandler):
    """Routes of the contract."""

    world: Gateway
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def say(self, status: int, body: Any, kind: str = "application/json", **more: str) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def no(self, status: int, code: str, message: str, hint: str = "") -> None:
        self.say(status, {"error": {"code": code, "message": message, "hint": hint}})

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.world.asked.append((self.command, self.path, body))
        self.world.headers.append({k.lower(): v for k, v in self.headers.items()})
        if self.world.acts:
            self.world.acts.pop(0)(self)
        else:
            self.route(body or {})

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def route(self, body: dict[str, Any]) -> None:
        path = [unquote(part) for part in self.path.split("/")[1:]]
        if path == ["v1", "chat", "completions"]:
            named = {} if self.world.serves is None else {
                "x-coalmine-release": self.world.serves or self.world.services["chat"]["stable"]}
            return self.say(200, {"choices": [{"message": {"content": "yes"}}]}, **named)
        if path == ["coalmine", "healthz"]:
            return self.say(200, {"status": "ok"})
        if path == ["coalmine", "api", "deployments"] and self.world.deployments is not None:
            return self.say(200, {"deployments": self.world.deployments})
        if path[:3] != ["coalmine", "api", "services"]:
            return self.say(404, {"detail": "Not Found"})
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        verb = path[4] if len(path) > 4 and self.command == "POST" else "read"
        if key not in self.world.keys:
            return self.no(401, "unauthorized", "that key is not known")
        if verb not in self.world.keys[key]:
            return self.no(403, "forbidden", f"this key may not {verb}", "ask an admin")
        if len(path) == 3:
            return self.say(200, {"services": list(self.world.services.values()),
                                  **self.world.policy})
        service = self.world.services.get(path[3])
        if service is None:
            return self.no(404, "not_found", f"service {path[3]!r} is not known", "known: chat")
        if len(path) == 4:
            return self.say(200, {**service, **self.world.policy})
        if path[4] == "history":
            return self.say(200, {"entries": HISTORY})
        if path[4] == "releases":
            return self.say(200, service)
        return self.act(service, verb, body)

    def act(self, service: dict[str, Any], verb: str, body: dict[str, Any]) -> None:
        phase = service["phase"]
        allowed = {"start": ("idle", "rolled_back"), "pause": ("canary", "baking"),
                   "resume": ("paused",), "promote": ("canary", "baking")}
        if verb != "rollback" and body.get("epoch") not in (None, service["epoch"]):
            return self.no(409, "epoch", f"{service['service']} is at epoch {service['epoch']}")
        if phase not in allowed.get(verb, (phase,)):
            return self.no(409, "refused", f"chat is {phase}: {verb} is not possible", "try later")
        if verb == "rollback" and phase in ("rolling_back", "rolled_back"):
            return self.say(200, {**service, "changed": False})
        after = {"start": "canary", "pause": "paused", "resume": "canary", "promote": "canary",
                 "rollback": "rolling_back"}[verb]
        service.update(phase=after, epoch=service["epoch"] + 1, reason=body.get("reason", ""))
        if verb == "start":
            service.update(candidate=body["release"], step=1, weight=1)
        elif verb == "promote":
            service["step"] = service["steps"] if body.get("full") else service["step"] + 1
        elif verb == "rollback":
            service.update(weight=0, step=None)
            for worker in service["workers"]:
                worker["epoch"] = worker["epoch"] if self.world.lags else service["epoch"]
        return self.say(200, {**service, "changed": True})


def says(status: int, body: Any, kind: str = "application/json", **more: str) -> Act:
    """An answer as given."""
    return lambda handler: handler.say(status, body, kind, **more)


def hangs(handler: Handler) -> None:
    """No answer until the test is over."""
    handler.world.done.wait(20)
    handler.close_connection = True


def cuts(handler: Handler) -> None:
    """A reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = open(os.devnull, "wb")  # noqa: SIM115  what the base class flushes afterwards


def breaks_off(handler: Handler) -> None:
    """Half an answer."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"services"')
    handler.close_connection = True


class Acts:
    """The misdeeds, by name, for tests that cannot import this file."""

    says = staticmethod(says)
    hangs = staticmethod(hangs)
    cuts = staticmethod(cuts)
    breaks_off = staticmethod(breaks_off)


@pytest.fixture
def acts() -> type[Acts]:
    return Acts


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def chat() -> dict[str, Any]:
    """A service's JSON in canary."""
    return copy.deepcopy(CHAT)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("COALMINE_") or name in (
            "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A proxy with Coalmine loaded."""
    found = Gateway()
    found.up()
    yield found
    found.done.set()
    found.down()


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def run(gateway: Gateway) -> Callable[..., Result]:
    """Run a command in this process, against the gateway."""

    def command(*args: str, **env: str | None) -> Result:
        settings = {"COALMINE_URL": gateway.url, "COALMINE_KEY": KEY, **env}
        apart = {"mix_stderr": False} if MIXES else {}
        return CliRunner(**apart).invoke(app, list(args), env=settings)

    return command


@pytest.fixture
def environment(gateway: Gateway) -> dict[str, str]:
    """For a process of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "PYTHONPATH": str(Path(coalmine.__file__).parents[1]),
        "PYTHONWARNINGS": "error",
        "COALMINE_URL": gateway.url,
        "COALMINE_KEY": KEY,
    }


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as people do."""

    def command(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "coalmine.cli.main", *args],
            env={**environment, **env}, capture_output=True, text=True, timeout=30, check=False,
        )

    return command
