"""The flip: from a command to the moment the last of four workers applies it.

Real proxies with the real plugin. Every worker says when it applied an epoch (``workers[].applied``
in the API); the command's own time stands in the log. With ``--load`` the workers are kept busy
meanwhile by clients of one engine.

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
    """Clients that keep a gateway busy, each asking again as soon as it has its answer."""

    def __init__(self, gateway: Gateway, clients: int) -> None:
        self._stop = threading.Event()
        self.answered = 0
        self._threads = [threading.Thread(target=self._ask, args=(gateway, n), daemon=True)
                         for n in range(clients)]

    def _ask(self, gateway: Gateway, number: int) -> None:
        client = Client(gateway.url, MASTER_KEY)
        while not self._stop.is_set():
            client.ask("chat", "flip", "hi", session=f"load-{number}")
            self.answered += 1
            time.sleep(0.02)
        client.close()

    def __enter__(self) -> Load:
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
                with Load(gateway, 4) as load:
                    began, at = load.answered, time.monotonic()
                    figures[f"{state}_loaded_ms"] = spread(flips(gateway, count))
                    rate = (load.answered - began) / (time.monotonic() - at)
                figures[f"{state}_load_requests_per_second"] = round(rate, 1)
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
