"""The two engines of the demo: blue with v1, green with v2. Here the simulated ones."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from coalmine.cli.demo.plan import CANDIDATE, SLOTS, STABLE, Pace
from coalmine.release.errors import CoalmineError

HOST = "127.0.0.1"
RELEASES = (STABLE, CANDIDATE)
FAILING = 0.6
"""Share of a bad release's answers that are errors, before their first byte."""

SEEDS = {STABLE: 1, CANDIDATE: 2}
NO_FAILURES = ("ok", "running", "disconnect")
"""Outcomes of a simulated engine's requests that are no failure of its own."""

Say = Callable[[str], None]


class DemoError(CoalmineError):
    """The demo could not be set up or carried out; the message says why."""

    code = "demo"


@dataclass(frozen=True, slots=True)
class Count:
    """What an engine counted since the traffic began.

    Attributes:
        release: the release that it runs.
        what: `attempts` that reached it, those that it made `failures`, or whole `answers`.
        number: how many, None when it cannot say.
        why: why it cannot say.
    """

    release: str
    what: str
    number: int | None
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

    spoiling = f"{FAILING * 100:.0f} % of v2's answers are errors now"

    def __init__(self, pace: Pace) -> None:
        from coalmine.sim.process import EngineProcess

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
            found.append(Count(release, "attempts", asked["total"] - 1))
            found.append(Count(release, "failures", _failed(asked["outcomes"])))
        return found

    def stop(self) -> None:
        """End both."""
        for engine in self._engines.values():
            engine.stop()


def _failed(outcomes: dict[str, Any]) -> int:
    return int(sum(count for name, count in outcomes.items() if name not in NO_FAILURES))
