"""The shared state: claims, flips and the size of a pin, in SQLite and in Redis.

Several processes use one state, as the workers of a gateway do. Times are wall clock, in
milliseconds. A flip is timed from the call of `swap` in one process until the last of the others
has loaded the new epoch.

    python -m benchmarks.state [--store sqlite redis] [--pins 100000 1000000] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import machine, write_result
from coalmine.rollout.service import EraRecord, ReleaseRecord, Service
from coalmine.state import Entry, StateBusy, StateUnreachable, open_state

CODE = 4321
PATIENT = 5.0
SHORT_TTL = 2.0
ROUNDS = 6
PINS_A_ROUND = 20_000
Spawned = multiprocessing.get_context("spawn")


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the maximum in milliseconds."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[int(last * share)] * 1e3, 3) for name, share in shares.items()}


def key(number: int) -> bytes:
    """Return a key that is as random as a real one: the fill of SQLite's pages depends on it."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8).digest()


# claims -------------------------------------------------------------------------------------------
def claim(url: str, base: Path, first: int, count: int, rate: float, told: Any) -> None:
    """Claim `count` pins, at `rate` a second or as fast as possible, as the hot path does."""
    state = open_state(url, base=base, deadline=PATIENT)
    told.put("ready")
    took, busy = [], 0
    due = begun = time.perf_counter()
    for number in range(first, first + count):
        if rate:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
        at = time.perf_counter()
        try:
            state.claim(key(number), CODE, wait=state.shared)
        except StateBusy:
            busy += 1
            state.claim(key(number), CODE)
        took.append(time.perf_counter() - at)
    told.put((took, busy, time.perf_counter() - begun))
    state.close()


def claims(url: str, base: Path, workers: int, count: int, rate: float) -> dict[str, Any]:
    """Let several processes claim at the same time."""
    told = Spawned.Queue()
    # Keys of their own for each run, far from each other's.
    start = time.time_ns() % 2**40
    processes = [
        Spawned.Process(target=claim, args=(url, base, start + i * count, count, rate, told))
        for i in range(workers)
    ]
    for process in processes:
        process.start()
    answers = [told.get() for _ in range(2 * workers)]
    for process in processes:
        process.join()
    results = [each for each in answers if each != "ready"]
    took = [each for times, _, _ in results for each in times]
    return {
        "workers": workers,
        "per_second": round(sum(len(times) / wall for times, _, wall in results)),
        "busy_percent": round(100 * sum(busy for _, busy, _ in results) / len(took), 2),
        **percentiles(took),
    }


# flips --------------------------------------------------------------------------------------------
def listen(url: str, base: Path, name: str, epochs: int, told: Any) -> None:
    """Wait for the bell, load, and tell when each epoch was there."""
    state = open_state(url, base=base, deadline=PATIENT)
    bell = state.bell(name)
    while bell.wait(0.1):
        pass
    told.put("ready")
    seen: dict[int, tuple[float, float]] = {}
    epoch = 0
    while epoch < epochs:
        bell.wait(0.5)
        rang = time.monotonic()
        epoch = state.load()["chat"].epoch
        seen.setdefault(epoch, (rang, time.monotonic()))
    told.put(seen)
    bell.close()
    state.close()


def flips(url: str, base: Path, workers: int, count: int) -> dict[str, Any]:
    """Change a service and see when the last of several processes knows."""
    service = Service(
        name="chat", since=1.0, stable="v1", releases={"v1": ReleaseRecord(slot="blue")},
        eras=(EraRecord(number=0, stable="v1"),),
    )
    entry = Entry(at=1.0, service="chat", who="bench", action="flip", reason="bench")
    state = open_state(url, base=base, deadline=PATIENT)
    state.swap(None, service, entry)
    told = Spawned.Queue()
    processes = [
        Spawned.Process(target=listen, args=(url, base, f"bench{i}", count + 1, told))
        for i in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        told.get()
    began, took = {}, []
    for epoch in range(2, count + 2):
        after = service.model_copy(update={"epoch": epoch})
        began[epoch] = time.monotonic()
        state.swap(service, after, entry)
        took.append(time.monotonic() - began[epoch])
        service = after
        time.sleep(0.02)
    seen = [told.get() for _ in processes]
    for process in processes:
        process.join()
    state.close()
    common = [epoch for epoch in began if all(epoch in each for each in seen)]
    return {
        "workers": workers,
        "flips": len(common),
        "swap": percentiles(took),
        "to_the_last_bell": percentiles(
            [max(each[epoch][0] for each in seen) - began[epoch] for epoch in common]
        ),
        "to_the_last_load": percentiles(
            [max(each[epoch][1] for each in seen) - began[epoch] for epoch in common]
        ),
    }


# bytes --------------------------------------------------------------------------------------------
def sqlite_bytes(base: Path, pins: int) -> float:
    """Return the bytes of the pins' file for each pin."""
    state = open_state("sqlite:///pins.db", base=base, deadline=PATIENT)
    for number in range(pins):
        state.claim(key(number), CODE)
    state.close()
    size = (base / "pins.db.pins").stat().st_size
    for path in base.glob("pins.db*"):
        path.unlink()
    return round(size / pins, 1)


def redis_bytes(port: int, pins: int) -> float:
    """Return the bytes of Redis' memory for each pin, written as `claim.lua` writes them."""
    import redis  # noqa: PLC0415 - only where it is measured

    from coalmine.state import redis_keys  # noqa: PLC0415 - imports nothing of the client

    with redis.Redis(port=port, socket_timeout=60) as client:
        client.flushall()
        before = client.info("memory")["used_memory"]
        for first in range(0, pins, 10_000):
            with client.pipeline(transaction=False) as pipeline:
                for number in range(first, min(first + 10_000, pins)):
                    pipeline.set(redis_keys.pin(key(number)), CODE, px=86_400_000)
                pipeline.execute()
        size = client.info("memory")["used_memory"] - before
        client.flushall()
    return round(size / pins, 1)


def used_memory(port: int) -> float:
    """Return the bytes that Redis uses."""
    import redis  # noqa: PLC0415 - only where it is measured

    with redis.Redis(port=port, socket_timeout=60) as client:
        return float(client.info("memory")["used_memory"])


# growth -------------------------------------------------------------------------------------------
def growth(url: str, base: Path, size: Callable[[], float]) -> list[float]:
    """Claim new pins in rounds, each after the round before last has outlived its time.

    Return `size`, in megabytes, after each round.
    """
    state = open_state(url, base=base, deadline=PATIENT, pin_ttl=SHORT_TTL)
    start = time.time_ns() % 2**40
    sizes = []
    for rounds in range(ROUNDS):
        for number in range(PINS_A_ROUND):
            state.claim(key(start + rounds * PINS_A_ROUND + number), CODE)
        time.sleep(2 * SHORT_TTL)
        sizes.append(round(size() / 2**20, 2))
    state.close()
    return sizes


# all ----------------------------------------------------------------------------------------------
@contextmanager
def redis_server(base: Path) -> Iterator[int]:
    """A redis-server of our own on a free port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(base),
         "--save", "", "--appendonly", "yes", "--logfile", str(base / "redis.log")]
    )
    try:
        end = time.monotonic() + 10
        while True:
            with socket.socket() as client:
                if not client.connect_ex(("127.0.0.1", port)):
                    break
            if time.monotonic() > end:
                raise StateUnreachable("the redis-server of the benchmark does not start")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(url: str, base: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what both stores have."""
    return {
        "claims_at_100_per_second_and_worker": claims(
            url, base, arguments.workers, arguments.claims // 10, 100.0
        ),
        "claims_as_fast_as_possible": claims(url, base, arguments.workers, arguments.claims, 0.0),
        "one_worker_alone": claims(url, base, 1, arguments.claims, 0.0),
        "flips": flips(url, base, arguments.workers, arguments.flips),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", nargs="+", choices=("sqlite", "redis"),
                        default=["sqlite", "redis"])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--claims", type=int, default=5000, help="of each worker")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--pins", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    where = machine()
    result: dict[str, Any] = {}
    with TemporaryDirectory(prefix="coalmine-bench-") as directory:
        base = Path(directory)
        if "sqlite" in arguments.store:
            where["sqlite"] = sqlite3.sqlite_version
            result["sqlite"] = measure("sqlite:///bench.db", base, arguments)
            result["sqlite"]["bytes_per_pin"] = {
                str(pins): sqlite_bytes(base, pins) for pins in arguments.pins
            }
            file = base / "growth.db.pins"
            result["sqlite"]["megabytes_by_round"] = growth(
                "sqlite:///growth.db", base, lambda: file.stat().st_size
            )
        if "redis" in arguments.store and shutil.which("redis-server"):
            with redis_server(base) as port:
                version = subprocess.run(
                    ["redis-server", "--version"], capture_output=True, text=True, check=True
                )
                where["redis_server"] = version.stdout.split()[2]
                result["redis"] = measure(f"redis://127.0.0.1:{port}/0", base, arguments)
                result["redis"]["bytes_per_pin"] = {
                    str(pins): redis_bytes(port, pins) for pins in arguments.pins
                }
                result["redis"]["megabytes_by_round"] = growth(
                    f"redis://127.0.0.1:{port}/0", base, lambda: used_memory(port)
                )
    write_result("state", result, where, arguments.json)


if __name__ == "__main__":
    main()
