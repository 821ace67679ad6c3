"""Simulated engines as processes of their own, for tests, demos and drills.

    with EngineProcess("green", "v2", served_names=["chat-v2"]) as green:
        green.set_faults(error_share=0.2)
        …  # clients use green.url + "/v1"
        green.requests()["outcomes"]

Needs nothing but the standard library on the caller's side.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from coalmine.sim.faults import HEALTHY, Faults

_STOP_SECONDS = 5.0
_CALL_SECONDS = 10.0
# The directory that holds the package, so that the child finds it however the parent did.
_IMPORT_ROOT = str(Path(__file__).resolve().parents[2])
# Engines are on this host: a proxy from the environment has no business with them.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EngineProcess:
    """One engine process: started by `start` or `with`, ended by `stop` or with its parent.

    It ends with its parent because it holds the other end of a pipe as standard input.
    Times are seconds. Raises RuntimeError, with the engine's own words, when it does not start.
    """

    def __init__(
        self,
        name: str,
        release: str,
        *,
        seed: int = 1,
        served_names: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        ttft: float = 0.02,
        inter_token: float = 0.005,
        tokens: int = 12,
        faults: Faults = HEALTHY,
        shutdown_timeout: int = 2,
        start_timeout: float = 30.0,
    ) -> None:
        self.name = name
        self.release = release
        self._start_timeout = start_timeout
        self._command = [
            *(sys.executable, "-m", "coalmine.sim", "--end-with-stdin"),
            *("--name", name, "--release", release, "--seed", str(seed)),
            *("--host", host, "--port", str(port), "--tokens", str(tokens)),
            *("--ttft", str(ttft), "--inter-token", str(inter_token)),
            *("--faults", json.dumps(faults.to_dict())),
            *("--shutdown-timeout", str(shutdown_timeout)),
        ]
        for served in served_names:
            self._command += ["--served-name", served]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._url: str | None = None

    def __enter__(self) -> EngineProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; the APIs are under it at `/v1`."""
        if self._url is None:
            raise RuntimeError(f"engine {self.name} was never started: call start()")
        return self._url

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> EngineProcess:
        """Start it and wait until it listens."""
        if self.alive:
            raise RuntimeError(f"engine {self.name} is running already: stop() it first")
        self.stop()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        path = os.pathsep.join(filter(None, (_IMPORT_ROOT, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": path},
        )
        line = self._ready_line(self._process)
        if not line.startswith("ready "):
            said = self.log()
            self.stop()
            raise RuntimeError(
                f"engine {self.name} did not listen within {self._start_timeout:g} s: "
                f"{said or 'it said nothing'}"
            )
        self._url = line.removeprefix("ready ").strip()
        return self

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL if it is still there 5 s later; the exit code. Idempotent."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release()
        return process.returncode

    def kill(self) -> None:
        """SIGKILL, for tests of an engine that dies."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._release()

    def set_faults(self, **faults: Any) -> Faults:
        """Put exactly these faults, the rest healthy; without any the engine is healthy again.

        Raises ValueError for an unknown one or an impossible value.
        """
        wanted = Faults.from_dict(faults)
        return Faults.from_dict(self._call("PUT", "/sim/faults", wanted.to_dict()))

    def faults(self) -> Faults:
        """The faults in force."""
        return Faults.from_dict(self._call("GET", "/sim/faults"))

    def requests(self, last: int | None = None) -> dict[str, Any]:
        """`total`, `running`, `outcomes` by name, and the last (10 000) `requests`."""
        query = "" if last is None else f"?last={last}"
        return self._call("GET", f"/sim/requests{query}")

    def reset(self) -> None:
        """As freshly started: draws, faults and remembered requests."""
        self._call("POST", "/sim/reset")

    def log(self) -> str:
        """What the engine wrote to standard error since it was started, while it is not stopped."""
        if self._log is None:
            return ""
        # The engine writes through the same file offset: reading must not move it.
        descriptor = self._log.fileno()
        said = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return said.decode(errors="replace").strip()

    def _release(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process = self._log = None

    def _ready_line(self, process: subprocess.Popen[bytes]) -> str:
        """The engine's first line; empty or partial when it ended or the time is up."""
        assert process.stdout is not None
        deadline = time.monotonic() + self._start_timeout
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return ""
                part = os.read(process.stdout.fileno(), 4096)
                if not part:
                    return ""
                said += part
        return said.decode()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with _OPENER.open(request, timeout=_CALL_SECONDS) as reply:
                result: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")
            raise RuntimeError(f"{method} {path} gave {error.code}: {said}") from None
        return result
