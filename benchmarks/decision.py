"""From the deciding event to weight 0 in force: a candidate that fails everything.

A gateway of four workers, ten new conversations a second, a weight of 10 %, evidence on errors
with the bar that it has by default, no circuit breaker. The deciding event is the last failure
before the rollback's entry in the log; in force means that the last worker has applied the
rollback's epoch.

    python -m benchmarks.decision [--runs 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.integration.client import Client
from tests.integration.engines import Engines
from tests.integration.gateway import MASTER_KEY, Gateway, eventually
from tests.integration.worlds import Svc, world

from benchmarks.flip import unix
from benchmarks.machine import machine, spread, write_result

ROOT = Path(__file__).resolve().parents[1]
POLICY = {
    "guardrails": [{"name": "errors", "metric": "error_rate", "rule": "evidence",
                    "severity": "critical"}],
    "alpha": 0.002,  # two detectors: a bar of 1000 each, as with the default guardrails
    "circuit_breaker": False,
}
PLAN = {"steps": [{"weight": 10, "for": "10h"}], "bake": "10h"}
CLIENTS, PAUSE = 3, 0.3
"""Ten new conversations a second."""


def run(gateway: Gateway, service: str, engines: Engines) -> tuple[float, float, int]:
    """One rollout until it has rolled itself back.

    Returns milliseconds from the deciding failure's end (as the engine's last refusal has it) to
    the decision and to the last worker, and how many attempts had failed.
    """
    gateway.command(service, "start", release="v2")
    stop = threading.Event()

    def begin(number: int) -> None:
        client = Client(gateway.url, MASTER_KEY)
        count = 0
        while not stop.is_set():
            client.ask("chat", service, "hi", session=f"{service}-{number}-{count}")
            count += 1
            stop.wait(PAUSE)
        client.close()

    threads = [threading.Thread(target=begin, args=(n,), daemon=True) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()

    def back() -> dict[str, Any] | None:
        seen = gateway.service(service)
        return seen if seen["phase"] in ("rolling_back", "rolled_back") else None

    seen = eventually(back, 60)
    entries = gateway.client().get(f"/coalmine/api/services/{service}/history").json()["entries"]
    entry = next(e for e in entries if e["action"] == "rollback")
    applied = gateway.applied(service, entry["after"]["epoch"])
    stop.set()
    for thread in threads:
        thread.join(30)
    decided = unix(entry["at"])
    failure = entry["figures"]["last_failure"]
    last = max(unix(w["applied"]) for w in applied["workers"] if w["epoch"] >= seen["epoch"])
    failed = gateway.attempts(service)
    errors = sum(n for (_, outcome), n in failed.items() if outcome == "error")
    return (decided - failure) * 1000, (last - failure) * 1000, errors


def measure(runs: int, folder: Path) -> dict[str, Any]:
    """Return the spread over `runs` rollouts, each of a service of its own."""
    services = [Svc(f"d{n}", rollout=PLAN, more=POLICY) for n in range(runs)]
    engines = Engines([name for service in services for name in service.ids()]).start()
    gateway = Gateway(world("decision", services, engines, workers=4), folder, ROOT / "plugin")
    gateway.start()
    decided, applied, failures = [], [], []
    try:
        gateway.ready()
        for service in services:
            engines.healthy()
            client = gateway.client()
            for number in range(8):
                client.ask("chat", service.name, "warm", session=f"w{number}")
            engines.green.set_faults(error_share=1.0, start_after=1)
            first, last, failed = run(gateway, service.name, engines)
            decided.append(first)
            applied.append(last)
            failures.append(float(failed))
    finally:
        gateway.stop()
        engines.stop()
    return {"decided_ms": spread(decided), "last_worker_ms": spread(applied),
            "failed_attempts": spread(failures), "runs": runs, "workers": 4}


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.runs, Path(folder) / "gateway")
    write_result("decision", figures, machine(), arguments.json)


if __name__ == "__main__":
    main()
