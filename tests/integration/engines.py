"""The two simulated engines behind all proxies, and what they themselves counted.

Every deployment is served under its own id, so an engine's list of requests says how many attempts
each deployment really got: the independent witness of Coalmine's figures.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from coalmine.sim import EngineProcess

TOKENS = 6


class Engines:
    """Blue and green.

    Args:
        names: ids of all deployments, which are the names the engines serve.
    """

    def __init__(self, names: list[str]) -> None:
        common = {"ttft": 0.01, "inter_token": 0.003, "tokens": TOKENS}
        self.blue = EngineProcess(
            "blue", "v1", served_names=[n for n in names if "blue" in n], **common
        )  # type: ignore[arg-type]
        self.green = EngineProcess(
            "green", "v2", served_names=[n for n in names if "green" in n], **common
        )  # type: ignore[arg-type]

    def start(self) -> Engines:
        """Start both."""
        self.blue.start()
        self.green.start()
        return self

    def stop(self) -> None:
        """End both."""
        self.blue.stop()
        self.green.stop()

    def healthy(self) -> None:
        """Take all faults away."""
        self.blue.set_faults()
        self.green.set_faults()

    @contextlib.contextmanager
    def faults(self, slot: str, **faults: Any) -> Iterator[None]:
        """Faults of one engine for a while; a share of 1 is meant where nothing is said."""
        engine = getattr(self, slot)
        engine.set_faults(**faults)
        try:
            yield
        finally:
            engine.set_faults()

    def total(self) -> tuple[int, int]:
        """How many requests blue and green have got."""
        return self.blue.requests(last=0)["total"], self.green.requests(last=0)["total"]

    def _requests(self, since: tuple[int, int] = (0, 0)) -> list[dict[str, Any]]:
        """All requests, or those since `total` said `since`."""
        found = []
        for engine, before in zip((self.blue, self.green), since, strict=True):
            now = engine.requests(last=0)["total"]
            found += engine.requests(last=now - before)["requests"]
        return found

    def asked_of(self, deployment: str, since: tuple[int, int] = (0, 0)) -> int:
        """How many requests a deployment got."""
        return sum(entry["model"] == deployment for entry in self._requests(since))

    def asked(self, service: str, since: tuple[int, int] = (0, 0)) -> Counter[tuple[str, str]]:
        """What was asked of a service's deployments: by (deployment, how it ended)."""
        return Counter(
            (entry["model"], entry["outcome"])
            for entry in self._requests(since)
            if str(entry["model"]).startswith((f"{service}-blue-", f"{service}-green-"))
        )
