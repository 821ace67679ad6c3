"""A real vLLM server on this machine, for the demo, one acceptance test and drills.

It runs from its own environment (see `vllm_install.py`), offline, bound to 127.0.0.1.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from coalmine.sim import vllm_guard
from coalmine.sim.vllm_guard import kill_session, session_members

HOST = "127.0.0.1"
START_SECONDS = 180.0  # it takes 27-29 s alone, more on a busy machine
DRAIN_SECONDS = 30  # vLLM's own limit for requests in flight after SIGTERM
STOP_SECONDS = 40.0  # after that the whole session is killed; above DRAIN_SECONDS
GONE_SECONDS = 10.0  # for killed processes to leave the process table
POLL_SECONDS, PROGRESS_SECONDS = 0.25, 10.0
TAIL = 25  # lines of the log to show when a server does not start
INSTALL_HINT = "install vLLM with plugin/coalmine/sim/vllm_install.py"
ENGINE_CORE = "VLLM::EngineCore"
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "TOKENIZERS_PARALLELISM": "false",
    # The engine computes in its own process (FLAGS), on one thread: as vLLM does where it has one
    # GPU. A worker of its own costs 20 s more CPU a start, and a core for 1 s after each request.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    # Above the 120 s of LiteLLM's client: with vLLM's 5 s the server ends idle connections, and a
    # request that sets out on one at that moment fails with ServerDisconnectedError.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "180",
}
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # of the caller's environment
FLAGS = (
    *("--dtype", "bfloat16"),
    "--enforce-eager",
    *("--distributed-executor-backend", "uni"),
    *("--max-model-len", "4096"),
    *("--max-num-seqs", "32"),
    *("--shutdown-timeout", str(DRAIN_SECONDS)),
    "--enable-request-id-headers",
)

Progress = Callable[[str], None]


class VllmError(Exception):
    """A server did not start, or a fault could not be made; the message says why."""


def command_line(
    python: Path, model: Path, served_names: Sequence[str], port: int
) -> tuple[str, ...]:
    """The command of one server. (The `vllm` command dies of a missing distribution name.)"""
    if not served_names:
        raise ValueError("served_names is empty: a server needs a name")
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return (
        *(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", *served_names),
        *("--host", HOST, "--port", str(port)),
        *FLAGS,
    )


def variables(base: Mapping[str, str]) -> dict[str, str]:
    """The environment of one process, offline."""
    kept = {name: value for name, value in base.items() if name not in FOREIGN}
    return kept | SETTINGS


def make_model(environment: Path, directory: Path, *, seed: int) -> Path:
    """Make the tiny model of a release, about 5 s; the same seed gives the same bytes."""
    script = Path(__file__).with_name("vllm_model.py")
    python = environment.absolute() / "bin" / "python"
    command = (str(python), "-P", str(script), str(directory.absolute()), "--seed", str(seed))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=variables(os.environ), check=False
        )
    except OSError as error:
        raise VllmError(f"{python} does not run ({error}): {INSTALL_HINT}") from error
    if done.returncode:
        raise VllmError(f"no model was made in {directory}: {done.stderr.strip()[-1000:]}")
    return directory


class VllmProcess:
    """One server: started on entry, answering a real completion when entry returns.

    To start two at once, call `start()` on both, then `wait_until_ready()` on both, and `stop()`
    in the end; should this process die, a guard ends the servers.

    `served_names`: the first is the one that answers carry; all of them may be asked for.
    `log`: file for its output (default: beside the model's folder, `<name>.log`).
    `wait`: seconds until a start is given up. `progress` gets a line now and then.
    """

    def __init__(
        self,
        environment: Path,
        model: Path,
        *,
        name: str,
        served_names: Sequence[str],
        port: int,
        log: Path | None = None,
        wait: float = START_SECONDS,
        progress: Progress | None = None,
    ) -> None:
        self.name, self.port, self.wait = name, port, wait
        self.served_names = tuple(served_names)
        self.log = log or model.absolute().parent / f"{name}.log"
        self._python = environment.absolute() / "bin" / "python"
        self._command = command_line(self._python, model.absolute(), self.served_names, port)
        self._variables = variables(os.environ)
        self._progress: Progress = progress or (lambda line: None)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._started = 0.0
        self.start_seconds: float | None = None

    @property
    def url(self) -> str:
        """Address of the server, without `/v1`."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the API server, also the id of its process group and session."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the API server's process lives; it may still not answer."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the API server, None while it runs. vLLM leaves with 0 after a crash."""
        return self._process.poll() if self._process else None

    def __enter__(self) -> VllmProcess:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop(drain=0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return at once; nothing when it runs already."""
        if self.running:
            return
        self.stop(drain=0)  # what a crashed predecessor may have left
        if not self._python.exists():
            raise VllmError(f"{self._python} does not exist: {INSTALL_HINT}")
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.port)) == 0:
                raise VllmError(f"{self.name}: port {self.port} is taken by another server")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log.open("ab")
        self._started = time.monotonic()
        self.start_seconds = None
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._variables,
            start_new_session=True,
        )
        self._guard = subprocess.Popen(
            (sys.executable, vllm_guard.__file__, str(self._process.pid)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until_ready(self) -> float:
        """Wait for a real completion (`/health` proves nothing); returns the start's seconds."""
        said = self._started
        with httpx.Client(trust_env=False, verify=False, timeout=10) as client:
            while True:
                if not self.running:
                    raise VllmError(
                        f"{self.name}: the server exited with {self.exit_code}{self._tail()}"
                    )
                if self._answers(client):
                    break
                now = time.monotonic()
                if now - self._started > self.wait:
                    raise VllmError(
                        f"{self.name}: no completion within {self.wait:.0f} s{self._tail()}"
                    )
                if now - said >= PROGRESS_SECONDS:
                    said = now
                    self._progress(f"{self.name}: starting, {now - self._started:.0f} s")
                time.sleep(POLL_SECONDS)
        self.start_seconds = time.monotonic() - self._started
        self._progress(f"{self.name}: ready after {self.start_seconds:.0f} s at {self.url}")
        return self.start_seconds

    def restart(self) -> float:
        """Start it afresh after a crash, without a drain; returns the start's seconds."""
        self.stop(drain=0)
        self.start()
        return self.wait_until_ready()

    def stop(self, drain: float = STOP_SECONDS) -> None:
        """End the server and all its processes. `drain`: seconds for requests in flight.

        Only the API server gets SIGTERM: the same to a worker breaks open streams.
        Whatever is left of the session afterwards is killed, so no engine stays as an orphan.
        """
        process = self._process
        if process is None:
            return
        if drain > 0 and process.poll() is None:
            with suppress(VllmError):
                self.thaw_engine_core()  # a frozen one would use up the whole drain
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(drain)
        kill_session(process.pid)
        gone = self._wait_until_gone(GONE_SECONDS)
        self._stop_guard()
        if self._output:
            self._output.close()
            self._output = None
        if not gone:
            left = [pid for pid, _ in session_members(process.pid)]
            raise VllmError(f"{self.name}: processes {left} do not end")
        self._process = None

    def kill_engine_core(self) -> int:
        """Kill the engine behind the API server, as a crash would; returns its process id."""
        return self._signal_engine_core(signal.SIGKILL)

    def freeze_engine_core(self) -> int:
        """Make the engine hang (SIGSTOP): open streams stall, `/health` stays 200."""
        return self._signal_engine_core(signal.SIGSTOP)

    def thaw_engine_core(self) -> int:
        """Let a frozen engine go on; stalled streams complete."""
        return self._signal_engine_core(signal.SIGCONT)

    def _answers(self, client: httpx.Client) -> bool:
        question = {"model": self.served_names[0], "prompt": "Hello", "max_tokens": 1}
        try:
            answer = client.post(f"{self.url}/v1/completions", json=question)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def _signal_engine_core(self, number: signal.Signals) -> int:
        for pid, title in session_members(self.pid or -1):
            if title.startswith(ENGINE_CORE):
                os.kill(pid, number)
                return pid
        raise VllmError(f"{self.name}: no EngineCore is running")

    def _stop_guard(self) -> None:
        if self._guard is not None:
            with suppress(BrokenPipeError):
                self._guard.communicate(vllm_guard.DONE)
            self._guard = None

    def _wait_until_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            if self._process:
                self._process.poll()  # reaps the API server
            if not any(session_members(self.pid or -1)):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS / 5)

    def _tail(self) -> str:
        """The end of the log, led by a line break."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            return "\n" + "\n".join(f"    {line}" for line in [*lines, f"(all of it: {self.log})"])
        return ""
