"""A real LiteLLM proxy with Coalmine in it, as a process of our own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import coalmine
from coalmine.cli.client import CONNECT_TIMEOUT, READ_TIMEOUT, Client, ClientError, Json
from coalmine.cli.demo.engines import HOST, DemoError, Say, free_port
from coalmine.sim import vllm_guard

WORKERS = 2
START_SECONDS = 150.0  # it takes 10-25 s on two quiet cores
ENDING_SECONDS = 15.0
PROGRESS_SECONDS = 5.0
POLL_SECONDS = 0.25
TAIL = 40
KEY_VARIABLE = "LITELLM_MASTER_KEY"
FOREIGN = ("COALMINE_", "LITELLM_", "REDIS_", "DATABASE_URL", "STORE_MODEL_IN_DB", "NUM_WORKERS")
"""Beginnings of variables of the caller's that would make it another proxy."""


def variables(base: Mapping[str, str], key: str, policy: Path) -> dict[str, str]:
    """The proxy's environment: the caller's, without what would lead it elsewhere."""
    kept = {
        name: value for name, value in base.items()
        if not name.upper().startswith(FOREIGN) and not name.lower().endswith("_proxy")
    }
    root = str(Path(coalmine.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, base.get("PYTHONPATH"))))
    return kept | {
        KEY_VARIABLE: key,
        "COALMINE_CONFIG": str(policy),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # asks nobody on the internet for prices
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


class Proxy:
    """LiteLLM's proxy with two workers; started by `start`, ended by `stop`.

    Args:
        folder: where it runs and logs.
        config: LiteLLM's configuration.
        policy: Coalmine's.
    """

    def __init__(self, folder: Path, config: Path, policy: Path) -> None:
        self.log = folder / "proxy.log"
        self.key = f"sk-{secrets.token_urlsafe(24)}"
        self.url = ""
        self._folder, self._config, self._policy = folder, config, policy
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def client(self, patience: float = READ_TIMEOUT) -> Client:
        """A client of Coalmine's API on it, which waits `patience` seconds for an answer."""
        return Client(self.url, self.key, timeout=(CONNECT_TIMEOUT, patience))

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it and return at once."""
        command = Path(sys.executable).with_name("litellm")
        if not command.exists():
            raise DemoError(
                f"there is no {command}: the demo needs the LiteLLM proxy; "
                "pip install 'coalmine[gateway,sim]'"
            )
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            [
                *(str(command), "--config", str(self._config)),
                *("--host", HOST, "--port", str(port)),
                *("--num_workers", str(WORKERS), "--timeout_worker_healthcheck", "120"),
                # With uvicorn's 5 s, which are httpx's too, an answer now and then has no end.
                *("--keepalive_timeout", "180"),
            ],
            cwd=self._folder, stdin=subprocess.DEVNULL, stdout=self._output,
            stderr=subprocess.STDOUT, start_new_session=True,
            env=variables(os.environ, self.key, self._policy),
        )
        # Should this process be killed, the guard ends the proxy and its workers.
        self._guard = subprocess.Popen(
            (sys.executable, vllm_guard.__file__, str(self._process.pid)),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until_ready(self, service: str, say: Say) -> None:
        """Wait until every worker serves with Coalmine in it."""
        began = said = time.monotonic()
        client, found = self.client(), "no answer yet"
        while True:
            self.check()
            try:
                ready = len(_workers(client.service(service)))
                if ready >= WORKERS:
                    return
                found = f"{ready} of {WORKERS} workers ready"
            except ClientError as error:
                found = error.message if error.status else "no answer yet"
            now = time.monotonic()
            if now - began > START_SECONDS:
                raise DemoError(f"the proxy was not ready within {START_SECONDS:.0f} s: {found}")
            if now - said >= PROGRESS_SECONDS:
                said = now
                say(f"proxy: starting, {found}")
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise DemoError when it has ended."""
        if self.exit_code is not None:
            raise DemoError(f"the proxy ended with exit code {self.exit_code}")

    def tail(self) -> str:
        """The end of its log, without the lines of the requests that went well."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join([line for line in lines if '" 200 ' not in line][-TAIL:])
        return ""

    def stop(self) -> None:
        """End it and its workers. Idempotent."""
        process = self._process
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_SECONDS)
        # It is the leader of its own group: whoever is left in it is a worker of ours.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._guard is not None:
            with suppress(BrokenPipeError):
                self._guard.communicate(vllm_guard.DONE)
        if self._output is not None:
            self._output.close()
        self._process = self._guard = self._output = None


def _workers(service: Json) -> list[Json]:
    found = service.get("workers")
    return found if isinstance(found, list) else []
