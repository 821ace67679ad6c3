"""A real LiteLLM proxy as a process of its own, with Coalmine in it or not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from .client import Client

T = TypeVar("T")

MASTER_KEY = "sk-integration-master"
START = 110.0
"""Seconds that a proxy may take to start, on a machine that does much else."""

Labels = frozenset[tuple[str, str]]
Metrics = dict[str, dict[Labels, float]]


def eventually(look: Callable[[], T], deadline: float = 8.0, every: float = 0.03) -> T:
    """Return what `look` returns once it neither fails nor says no; at the deadline its failure."""
    end = time.monotonic() + deadline
    while True:
        try:
            found = look()
            if found or time.monotonic() > end:
                assert found, f"still {found!r} after {deadline:g} s"
                return found
        except (AssertionError, httpx.TransportError):
            if time.monotonic() > end:
                raise
        time.sleep(every)


@dataclass(frozen=True)
class Setup:
    """What a proxy is started with; equal set-ups share one proxy.

    Attributes:
        name: for the directory and for people.
        litellm: LiteLLM's configuration, as JSON.
        policy: ``coalmine.yaml``, as JSON; None to have none.
        workers: worker processes.
        env: further environment.
        files: further files beside its configuration.
    """

    name: str
    litellm: str
    policy: str | None = None
    workers: int = 1
    env: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def with_plugin(self) -> bool:
        """Whether LiteLLM is told to load Coalmine, and Coalmine is not told to stay away."""
        return "coalmine.plugin" in self.litellm and ("COALMINE_BYPASS", "1") not in self.env


def setup(
    name: str,
    litellm: Mapping[str, Any],
    policy: Mapping[str, Any] | None = None,
    *,
    workers: int = 1,
    files: Mapping[str, str] | None = None,
    **env: str,
) -> Setup:
    """Return a set-up; JSON is YAML, so files are written as it is easiest."""
    return Setup(
        name,
        json.dumps(litellm),
        json.dumps(policy) if policy is not None else None,
        workers,
        tuple(sorted(env.items())),
        tuple(sorted((files or {}).items())),
    )


@dataclass
class Gateway:
    """One proxy: started, waited for, asked, read, ended by the ids of its own processes."""

    setup: Setup
    directory: Path
    plugin_root: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    clients: dict[str, Client] = field(default_factory=dict)

    # its life ----------------------------------------------------------------------------------

    def start(self) -> Gateway:
        """Write its files and start it, without waiting for it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "tmp").mkdir(exist_ok=True)
        (self.directory / "config.yaml").write_text(self.setup.litellm)
        if self.setup.policy is not None:
            (self.directory / "coalmine.yaml").write_text(self.setup.policy)
        for name, content in self.setup.files:
            (self.directory / name).write_text(content)
        self.port = self.port or free_port()
        command = [
            *(sys.executable, str(Path(sys.executable).with_name("litellm"))),
            *("--config", "config.yaml", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--num_workers", str(self.setup.workers), "--keepalive_timeout", "180"),
        ]
        if self.setup.workers > 1:
            # uvicorn kills workers that take over 5 s to import, and LiteLLM takes longer.
            command += ["--timeout_worker_healthcheck", "30"]
        with (self.directory / "proxy.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "tmp"),
            "PYTHONPATH": str(self.plugin_root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            **dict(self.setup.env),
        }

    def ready(self, *, api: bool = True) -> Gateway:
        """Wait until every worker serves; without `api` our own API is not asked."""
        end = time.monotonic() + START
        while time.monotonic() < end:
            code = self.process.poll() if self.process else None
            assert code is None, f"the proxy {self.setup.name} ended with {code}:\n{self.log()}"
            with contextlib.suppress(httpx.TransportError, KeyError, ValueError):
                if self._serves(api):
                    return self
            time.sleep(0.1)
        raise AssertionError(f"the proxy {self.setup.name} never served:\n{self.log()}")

    def _serves(self, api: bool) -> bool:
        if self.client().get("/health/liveliness").status != 200:
            return False
        if not api or not self.setup.with_plugin or self.setup.policy is None:
            return True
        services = self.client().get("/coalmine/api/services").json()["services"]
        return all(
            len(service["workers"]) >= self.setup.workers
            and all(worker["epoch"] == service["epoch"] for worker in service["workers"])
            for service in services
        )

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the processes that this one started: they are a group of their own."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End it, at once if it does not end by itself; nothing is left behind."""
        for client in self.clients.values():
            client.close()
        self.clients.clear()
        if self.process is None:
            return
        self.signal()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(3)
        self.signal(signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def log(self, last: int = 12_000) -> str:
        """The end of what it wrote."""
        path = self.directory / "proxy.log"
        return path.read_text(errors="replace")[-last:] if path.exists() else ""

    def log_position(self) -> int:
        """How much it has written."""
        path = self.directory / "proxy.log"
        return path.stat().st_size if path.exists() else 0

    def log_since(self, position: int) -> str:
        """What it has written since."""
        with (self.directory / "proxy.log").open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    # its clients -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str | None = MASTER_KEY) -> Client:
        """A client with a key, the admin's when none is given."""
        return self.clients.setdefault(str(key), Client(self.url, key))

    # its API, as an admin ----------------------------------------------------------------------

    def service(self, name: str) -> dict[str, Any]:
        """A service as the API shows it."""
        answer = self.client().get(f"/coalmine/api/services/{name}")
        assert answer.status == 200, answer.text
        return answer.json()

    def command(self, name: str, verb: str, **body: Any) -> dict[str, Any]:
        """Give a command that must be done, and wait until all workers apply it."""
        answer = self.client().post(f"/coalmine/api/services/{name}/{verb}", body)
        assert answer.status == 200, f"{verb} {name}: {answer.status} {answer.text}"
        document = answer.json()
        self.applied(name, document["epoch"])
        return document

    def applied(self, name: str, epoch: int) -> dict[str, Any]:
        """Wait until every worker applies at least `epoch`."""

        def look() -> dict[str, Any] | None:
            service = self.service(name)
            epochs = [worker["epoch"] or 0 for worker in service["workers"]]
            done = len(epochs) >= self.setup.workers and min(epochs) >= epoch
            return service if done else None

        return eventually(look)

    def until(self, name: str, phase: str) -> dict[str, Any]:
        """Wait until a service is in a phase on all workers."""

        def look() -> dict[str, Any] | None:
            service = self.service(name)
            return service if service["phase"] == phase else None

        return self.applied(name, eventually(look)["epoch"])

    # its metrics -------------------------------------------------------------------------------

    def metrics(self) -> Metrics:
        """All metrics: {name: {labels: value}}."""
        answer = self.client().get("/coalmine/metrics")
        assert answer.status == 200, answer.text
        return parse_metrics(answer.text)

    def attempts(self, service: str) -> Counter[tuple[str, str]]:
        """Attempts of a service by (deployment, outcome)."""
        return tally(
            self.metrics(), "coalmine_attempts_total", ("deployment", "outcome"), service=service
        )

    def in_flight(self) -> dict[str, float]:
        """What the gauge says is running, without zeros."""
        found = self.metrics().get("coalmine_in_flight", {})
        return {str(sorted(labels)): value for labels, value in found.items() if value}


_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse_metrics(text: str) -> Metrics:
    """Read Prometheus's exposition text."""
    found: Metrics = {}
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        match = _LINE.match(line)
        assert match, f"not a metric: {line!r}"
        labels = frozenset(_LABEL.findall(match[2] or ""))
        found.setdefault(match[1], {})[labels] = float(match[3])
    return found


def tally(metrics: Metrics, name: str, by: tuple[str, ...], **where: str) -> Counter[Any]:
    """Sum a metric over the series with the labels `where`, by the values of the labels `by`."""
    found: Counter[Any] = Counter()
    for labels, value in metrics.get(name, {}).items():
        has = dict(labels)
        if all(has.get(label) == wanted for label, wanted in where.items()):
            key = tuple(has.get(label, "") for label in by)
            found[key if len(by) > 1 else key[0] if by else ()] += (
                int(value) if value == int(value) else value
            )  # type: ignore[assignment]
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
