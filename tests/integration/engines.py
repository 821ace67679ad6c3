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
        self.blue = EngineProcess("blue", "v1", served_names=[n for n in names if "blue" in n],
                                  **common)  # type: ignore[arg-type]
        self.green = EngineProcess("green", "v2", served_names=[n for n in names if "green" in n],
                                   **common)  # type: ignore[arg-type]

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

    def _requests(self) -> list[dict[str, Any]]:
        return [*self.blue.requests()["requests"], *self.green.requests()["requests"]]

    def asked(self, service: str) -> Counter[tuple[str, str]]:
        """What was asked of a service's deployments: by (deployment, how it ended)."""
        return Counter(
            (entry["model"], entry["outcome"]) for entry in self._requests()
            if str(entry["model"]).startswith(f"{service}-")
        )
