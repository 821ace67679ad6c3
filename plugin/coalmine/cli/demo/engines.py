"""The two engines of the demo: blue with v1, green with v2; simulated or real vLLM."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import coalmine
from coalmine.cli.demo.plan import CANDIDATE, SLOTS, STABLE, Pace
from coalmine.release.errors import CoalmineError

HOST = "127.0.0.1"
RELEASES = (STABLE, CANDIDATE)
FAILING = 0.6
"""Share of a bad release's answers that are errors, before their first byte."""

SEEDS = {STABLE: 1, CANDIDATE: 2}
ENVIRONMENT = ".venv-vllm"
NO_FAILURES = ("ok", "running", "disconnect")
"""Outcomes of a simulated engine's requests that are no failure of its own."""

Say = Callable[[str], None]


class DemoError(CoalmineError):
    """The demo could not be set up or carried out; the message says why."""

    code = "demo"


@dataclass(frozen=True, slots=True)
class Count:
    """What an engine says that it was asked since the traffic began.

    Attributes:
        release: the release that it runs.
        answered: requests that reached it, None when it cannot say.
        failed: those that it failed, None when it cannot say.
        why: why it cannot say.
    """

    release: str
    answered: int | None
    failed: int | None = None
    why: str = ""


class Engines(Protocol):
    """Two engines."""

    spoiling: str
    """What is done to v2, in words."""

    urls: dict[str, str]
    """Base address of each release's API."""

    def start(self, say: Say) -> None:
        """Start both and wait until they answer."""

    def mark(self) -> None:
        """What is counted begins here; called before the rollout and its probes."""

    def spoil(self) -> None:
        """Let v2 go bad."""

    def has_failed(self) -> bool:
        """Whether v2 has given a bad answer since."""

    def release_of(self, text: str) -> str | None:
        """Which release wrote an answer, None when that is not clear."""

    def counts(self) -> list[Count]:
        """What both were asked."""

    def stop(self) -> None:
        """End both. Idempotent."""


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class SimEngines:
    """Simulated engines: their answers begin with the release, `[v2] cedar opal …`.

    Args:
        pace: how the clients behave; the longest answer that they ask for.
    """

    spoiling = f"{FAILING:.0%} of v2's answers are errors now"

    def __init__(self, pace: Pace) -> None:
        from coalmine.sim import EngineProcess

        self.urls: dict[str, str] = {}
        self._engines = {
            release: EngineProcess(
                SLOTS[release], release, seed=SEEDS[release], served_names=[f"chat-{release}"],
                ttft=0.03, inter_token=0.03, tokens=pace.long_tokens,
            )
            for release in RELEASES
        }

    def start(self, say: Say) -> None:
        """Start both and wait until they listen."""
        for release, engine in self._engines.items():
            engine.start()
            self.urls[release] = f"{engine.url}/v1"
            say(f"{engine.name}: a simulated engine serves {release} at {engine.url}")

    def mark(self) -> None:
        """Forget what was asked so far."""
        for engine in self._engines.values():
            engine.reset()

    def spoil(self) -> None:
        """Let v2 fail most requests at once with an HTTP 500."""
        self._engines[CANDIDATE].set_faults(error_share=FAILING)

    def has_failed(self) -> bool:
        """Whether v2 has answered with an error."""
        return _failed(self._engines[CANDIDATE].requests(last=0)["outcomes"]) > 0

    def release_of(self, text: str) -> str | None:
        """Which release signed the answer; a mixture has no author."""
        said = set(re.findall(r"\[(\w+)\]", text))
        return said.pop() if len(said) == 1 else None

    def counts(self) -> list[Count]:
        """What both were asked, without the probe that each got at the rollout's start."""
        found = []
        for release, engine in self._engines.items():
            asked = engine.requests(last=0)
            found.append(Count(release, asked["total"] - 1, _failed(asked["outcomes"])))
        return found

    def stop(self) -> None:
        """End both."""
        for engine in self._engines.values():
            engine.stop()


def _failed(outcomes: dict[str, Any]) -> int:
    return int(sum(count for name, count in outcomes.items() if name not in NO_FAILURES))


class VllmEngines:
    """Two real vLLM servers with tiny models, each on a core of its own.

    Args:
        folder: where models and logs go.
    """

    spoiling = "v2's engine is killed behind its API server"

    def __init__(self, folder: Path) -> None:
        self.urls: dict[str, str] = {}
        self._folder = folder
        self._servers: dict[str, Any] = {}
        self._before: int | None = None

    def start(self, say: Say) -> None:
        """Make the models and start both servers at once."""
        from coalmine.sim.vllm_process import VllmError, VllmProcess, make_model

        environment = _environment()
        try:
            for core, release in enumerate(RELEASES):
                say(f"{SLOTS[release]}: making the model of {release}")
                model = make_model(environment, self._folder / release, seed=SEEDS[release])
                self._servers[release] = VllmProcess(
                    environment, model, name=SLOTS[release], served_names=[f"chat-{release}"],
                    port=free_port(), core=core, progress=say,
                )
            say("starting two vLLM servers, which takes a minute on two cores")
            for server in self._servers.values():
                server.start()
            for release, server in self._servers.items():
                server.wait_until_ready()
                self.urls[release] = f"{server.url}/v1"
        except VllmError as error:
            raise DemoError(str(error)) from error

    def mark(self) -> None:
        """Remember how many requests blue had answered."""
        self._before = self._answered(STABLE)

    def spoil(self) -> None:
        """Kill v2's engine; its API server breaks the open streams and ends."""
        self._servers[CANDIDATE].kill_engine_core()

    def has_failed(self) -> bool:
        """An engine that is dead fails from that moment on."""
        return True

    def release_of(self, text: str) -> str | None:
        """Whose words the answer is made of."""
        from coalmine.sim.vllm_model import seeds_of

        authors = seeds_of(text)
        known = [release for release, seed in SEEDS.items() if seed in authors]
        return known[0] if len(authors) == 1 and known else None

    def counts(self) -> list[Count]:
        """What blue answered by its own metrics, without the start's probe; green's are gone."""
        now = self._answered(STABLE)
        if now is None or self._before is None:
            blue = Count(STABLE, None, why="its metrics could not be read")
        else:
            blue = Count(STABLE, now - self._before - 1)
        return [blue, Count(CANDIDATE, None, why="its counters died with its engine")]

    def stop(self) -> None:
        """End both, with all their processes."""
        for server in self._servers.values():
            server.stop(drain=5.0)

    def _answered(self, release: str) -> int | None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError, ValueError):
            with opener.open(f"{self._servers[release].url}/metrics", timeout=10) as reply:
                lines = reply.read().decode().splitlines()
            found = [line for line in lines if line.startswith("vllm:request_success_total{")]
            return int(sum(float(line.rpartition(" ")[2]) for line in found))
        return None


def _environment() -> Path:
    """Where vLLM is installed: in the working directory or the repository's root."""
    from coalmine.sim.vllm_install import is_installed

    places = (Path.cwd(), Path(coalmine.__file__).resolve().parents[2])
    for place in places:
        if is_installed(place / ENVIRONMENT):
            return place / ENVIRONMENT
    raise DemoError(
        f"there is no real vLLM in {places[0] / ENVIRONMENT}: `make demo ENGINES=vllm` installs it"
    )
