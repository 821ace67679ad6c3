"""What the plugin costs: CPU seconds per request of a real proxy, with the plugin to without.

Two proxies of one worker each run all the time, one with Coalmine in a canary at 50 %, one without;
alternating blocks of the same requests go to the one and the other, and the CPU time of each
process is read before and after its block. The figure is the median of the blocks' ratios with a
bootstrapped 95 % interval.

    python -m benchmarks.cost [--blocks 24] [--requests 300] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.integration.client import Client
from tests.integration.engines import Engines
from tests.integration.gateway import MASTER_KEY, Gateway, eventually
from tests.integration.worlds import Svc, world

from benchmarks.machine import machine, spread, write_result

ROOT = Path(__file__).resolve().parents[1]
PLAN = {"steps": [{"weight": 50, "for": "10h"}], "bake": "10h"}
SERVICE = Svc("cost", rollout=PLAN)
TICK = os.sysconf("SC_CLK_TCK")
CLIENTS = 4


def cpu_seconds(gateway: Gateway) -> float:
    """CPU time that the proxy's process has used."""
    assert gateway.process is not None
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def block(gateway: Gateway, requests: int, stream: bool, seed: int) -> float:
    """Send a block of requests; return CPU milliseconds per request."""

    def some(number: int) -> None:
        with closing(Client(gateway.url, MASTER_KEY)) as client:
            for turn in range(requests // CLIENTS):
                answer = client.ask("chat", "cost", "hi", stream=stream,
                                    session=f"b{seed}-{number}-{turn // 5}")
                assert answer.status == 200, answer.text

    before = cpu_seconds(gateway)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(some, range(CLIENTS)))
    return (cpu_seconds(gateway) - before) / requests * 1000


def interval(ratios: list[float], seed: int = 1) -> tuple[float, float]:
    """Return the bootstrapped 95 % interval of the median."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(4000))
    return medians[100], medians[3899]


def measure(blocks: int, requests: int, folder: Path) -> dict[str, Any]:
    """Return CPU per request with and without, and the ratio, plain and streamed."""
    engines = Engines(SERVICE.ids()).start()
    with_it = Gateway(world("with", [SERVICE], engines), folder / "with", ROOT / "plugin").start()
    without = Gateway(world("without", [SERVICE], engines, callback=False), folder / "without",
                      ROOT / "plugin").start()
    figures: dict[str, Any] = {"blocks": blocks, "requests_per_block": requests, "goal": 1.01}
    try:
        with_it.ready()
        without.ready()
        with_it.command("cost", "start", release="v2")
        eventually(lambda: with_it.service("cost")["phase"] == "canary")
        for kind, stream in (("plain", False), ("streamed", True)):
            block(with_it, requests, stream, 0)
            block(without, requests, stream, 0)
            ours, theirs = [], []
            for number in range(blocks):
                order = [(with_it, ours), (without, theirs)]
                for gateway, taken in order if number % 2 else order[::-1]:
                    taken.append(block(gateway, requests, stream, number + 1))
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            low, high = interval(ratios)
            figures[kind] = {
                "with_ms": spread(ours), "without_ms": spread(theirs),
                "ratio": statistics.median(ratios), "ratio_low": low, "ratio_high": high,
            }
    finally:
        with_it.stop()
        without.stop()
        engines.stop()
    return figures


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.blocks, arguments.requests, Path(folder))
    write_result("cost", figures, machine(), arguments.json)


if __name__ == "__main__":
    main()
