"""Two stores, real ones, and other processes that use them too."""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from coalmine.rollout.service import EraRecord, ReleaseRecord, Service
from coalmine.routing import Phase
from coalmine.state import Entry, State, open_state

PLUGIN = Path(__file__).parents[2] / "plugin"
PATIENT = 5.0
"""Seconds that a call may take where the machine's load, not a fault, is what could delay it."""


# what is put into the state -----------------------------------------------------------------------
@pytest.fixture
def service() -> Service:
    """A service at epoch 1, as it is the first time."""
    return Service(
        name="chat", since=1.0, stable="v1", releases={"v1": ReleaseRecord(slot="blue")},
        eras=(EraRecord(number=0, stable="v1"),),
    )


def _at(service: Service, epoch: int, phase: Phase = Phase.IDLE) -> Service:
    return service.model_copy(update={"epoch": epoch, "phase": phase})


@pytest.fixture
def at() -> Callable[..., Service]:
    """A service with another epoch and phase."""
    return _at


@pytest.fixture
def entry() -> Entry:
    """An entry of the log."""
    return Entry(
        at=1.5, service="chat", who="ada", action="start", reason="because – ünïcode",
        before={"epoch": 1}, after={"epoch": 2}, figures={"p99": 0.25},
    )


# a real Redis -------------------------------------------------------------------------------------
def _free_port() -> int:
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        if port < 55_000:  # a cluster takes the port 10 000 above it too
            return port


class RedisServer:
    """A redis-server of the tests' own, on a free port of the loopback."""

    def __init__(
        self, until: Callable[..., Any], directory: Path, *options: str, tls: bool = False
    ) -> None:
        self._until = until
        self.directory = directory
        self.options = options
        self.tls = tls
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, with what is on its disk, and wait until it listens."""
        self.log = self.directory / "redis.log"
        port = ["--port", "0", "--tls-port", str(self.port)] if self.tls else [
            "--port", str(self.port)
        ]
        self.process = subprocess.Popen([
            "redis-server", *port, "--bind", "127.0.0.1", "--dir", str(self.directory),
            "--logfile", str(self.log), "--save", "", *self.options,
        ])
        self._until(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", self.port)):
                return False
        return "Ready to accept connections" in self.log.read_text()

    def client(self, **options: Any) -> Any:
        """A client of the tests' own."""
        import redis

        return redis.Redis(port=self.port, **options)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def _with_redis() -> None:
    if "redis" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names redis")
    if shutil.which("redis-server") is None:
        pytest.fail(
            "redis-server is missing: apt-get install redis-server, or set COALMINE_WITHOUT=redis",
            pytrace=False,
        )


@pytest.fixture
def start_redis(
    _with_redis: None, tmp_path: Path, until: Callable[..., Any]
) -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of one's own, for tests that stop it or set it up in another way."""
    started: list[RedisServer] = []

    def start(*options: str, tls: bool = False) -> RedisServer:
        directory = tmp_path / f"redis{len(started)}"
        directory.mkdir()
        started.append(RedisServer(until, directory, *options, tls=tls))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def _redis(_with_redis: None, until: Callable[..., Any]) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="coalmine-redis-") as directory:
        server = RedisServer(until, Path(directory))
        yield server
        server.kill()


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """A Redis that runs and holds nothing."""
    with _redis.client() as client:
        client.flushall()
    return _redis


# other processes ----------------------------------------------------------------------------------
class Peer:
    """Another process; see peer.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("peer.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PLUGIN)},
        )

    def send(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Ask for something without waiting for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps((name, args, kwargs)))
        self.process.stdin.flush()

    def receive(self, timeout: float = 30.0) -> Any:
        """Return the answer, or raise the error that it is."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        assert ready, "the other process does not answer"
        done, answer = pickle.load(self.process.stdout)
        if not done:
            raise answer
        return answer

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask for something and return the answer."""
        self.send(name, *args, **kwargs)
        return self.receive()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="session")
def _peers() -> Iterator[list[Peer]]:
    peers = [Peer() for _ in range(4)]
    yield peers
    for peer in peers:
        peer.end()


@pytest.fixture
def unopened_peers(_peers: list[Peer]) -> Iterator[list[Peer]]:
    """Four other processes that have nothing open."""
    yield _peers
    for peer in _peers:
        peer.ask("close")


@pytest.fixture
def peers(unopened_peers: list[Peer], url: str, tmp_path: Path) -> list[Peer]:
    """Four other processes that have the same state open."""
    for peer in unopened_peers:
        peer.ask("open", url, tmp_path, deadline=PATIENT)
    return unopened_peers


@pytest.fixture
def mortal_peer(url: str, tmp_path: Path) -> Iterator[Peer]:
    """One other process with the same state open, which may be killed."""
    peer = Peer()
    peer.ask("open", url, tmp_path, deadline=PATIENT)
    yield peer
    peer.end()


def _race(peers: list[Peer], calls: list[list[tuple[str, tuple[Any, ...]]]]) -> list[list[Any]]:
    start = time.monotonic() + 0.05
    for peer, mine in zip(peers, calls, strict=True):
        peer.send("calls", start, mine)
    return [peer.receive() for peer in peers]


@pytest.fixture
def race() -> Callable[..., list[list[Any]]]:
    """Let each process make its calls, all from the same moment on; their answers."""
    return _race


# the stores ---------------------------------------------------------------------------------------
@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty state, of each store in turn."""
    if request.param == "sqlite":
        return "sqlite:///coalmine.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


def _ours(directory: Path) -> tuple[set[str], set[str]]:
    threads = {each.name for each in threading.enumerate() if each.name.startswith("coalmine")}
    links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return threads, {link for link in links if link.startswith(str(directory))}


@pytest.fixture
def opened(
    tmp_path: Path, until: Callable[..., Any]
) -> Iterator[Callable[..., State]]:
    """Open states that are closed after the test, when no thread and no file of theirs is left."""
    with ExitStack() as stack:
        def open_one(url: str, **options: Any) -> State:
            state = open_state(url, base=tmp_path, **{"deadline": PATIENT, **options})
            stack.callback(state.close)
            return state

        yield open_one
    until(lambda: _ours(tmp_path) == (set(), set()))


@pytest.fixture
def state(opened: Callable[..., State], url: str) -> State:
    """An empty state, of each store in turn."""
    return opened(url)


@pytest.fixture
def forget_everything(
    request: pytest.FixtureRequest, url: str, tmp_path: Path
) -> Callable[[], None]:
    """Lose the state under those who use it, as a restart without persistence does."""

    def forget() -> None:
        if url.startswith("redis"):
            with request.getfixturevalue("redis_server").client() as client:
                client.flushall()
            return
        for path in tmp_path.glob("coalmine.db*"):
            path.unlink()
        open_state(url, base=tmp_path).close()

    return forget
