"""The flip: from a command to the moment the last of four workers applies it.

Real proxies with the real plugin. Every worker says when it applied an epoch (``workers[].applied``
in the API); the command's own time stands in the log. Three loads: none; 70 % of the requests a
second that this gateway answers at most, sent by a clock; and all that it can take.

    python -m benchmarks.flip [--flips 200] [--states sqlite,redis] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.integration.client import Client
from tests.integration.engines import Engines
from tests.integration.gateway import MASTER_KEY, Gateway
from tests.integration.redis_server import RedisServer
from tests.integration.worlds import Svc, world

from benchmarks.machine import machine, spread, write_result

ROOT = Path(__file__).resolve().parents[1]
SERVICE = Svc("flip", rollout={"steps": [{"weight": 50, "for": "10h"}], "bake": "10h"})
WORKERS = 4
CLIENTS = 8
SHARE = 0.7
"""Share of the most requests a second that counts as loaded."""
CAPACITY = 10.0
"""Seconds in which the most requests a second are found."""


def unix(moment: str) -> float:
    """Read an RFC 3339 moment."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def flips(gateway: Gateway, count: int) -> list[float]:
    """Pause and resume `count` times; return milliseconds to the last worker for each."""
    client = gateway.client()
    taken = []
    for number in range(count):
        verb = "resume" if number % 2 else "pause"
        answer = client.post(f"/coalmine/api/services/flip/{verb}")
        assert answer.status == 200, answer.text
        document = answer.json()
        service = gateway.applied("flip", document["epoch"])
        last = max(unix(worker["applied"]) for worker in service["workers"])
        taken.append((last - unix(document["since"])) * 1000)
        time.sleep(0.02)
    return taken


class Load:
    """Clients that keep a gateway busy.

    Args:
        gateway: the gateway.
        rate: requests a second of all clients together, sent by a clock; None for each asking again
            as soon as it has its answer.
    """

    def __init__(self, gateway: Gateway, rate: float | None = None) -> None:
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._answered = [0] * CLIENTS
        self._every = CLIENTS / rate if rate else 0.0
        self._threads = [threading.Thread(target=self._ask, args=(gateway, n), daemon=True)
                         for n in range(CLIENTS)]

    def _ask(self, gateway: Gateway, number: int) -> None:
        client = Client(gateway.url, MASTER_KEY)
        due = time.monotonic() + number * self._every / CLIENTS
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            client.ask("chat", "flip", "hi", session=f"load-{number}")
            self._answered[number] += 1
            due += self._every
        client.close()

    def rate(self) -> float:
        """Answers a second since it began."""
        return sum(self._answered) / (time.monotonic() - self._began)

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(35)


def measure(count: int, states: list[str], folder: Path) -> dict[str, Any]:
    """Return the spread of the flip for each state, idle and under load."""
    figures: dict[str, Any] = {}
    engines = Engines(SERVICE.ids()).start()
    try:
        for state in states:
            server = RedisServer(folder / "redis").start() if state == "redis" else None
            top = {"state": "os.environ/BENCH_REDIS"} if server else {}
            env = {"BENCH_REDIS": server.url} if server else {}
            setup = world(f"flip-{state}", [SERVICE], engines, workers=WORKERS, top=top, **env)
            gateway = Gateway(setup, folder / state, ROOT / "plugin").start()
            try:
                gateway.ready()
                gateway.command("flip", "start", release="v2")
                flips(gateway, 10)
                figures[f"{state}_idle_ms"] = spread(flips(gateway, count))
                with Load(gateway) as full:
                    time.sleep(CAPACITY)
                    most = full.rate()
                for name, rate in (("loaded", SHARE * most), ("full", None)):
                    with Load(gateway, rate) as load:
                        figures[f"{state}_{name}_ms"] = spread(flips(gateway, count))
                        figures[f"{state}_{name}_requests_per_second"] = round(load.rate(), 1)
            finally:
                gateway.stop()
                if server:
                    server.kill()
    finally:
        engines.stop()
    return {**figures, "flips": count, "workers": WORKERS}


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--states", default="sqlite,redis")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.flips, arguments.states.split(","), Path(folder))
    write_result("flip", figures, machine(), arguments.json)


if __name__ == "__main__":
    main()
