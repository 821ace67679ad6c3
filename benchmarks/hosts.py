"""Hosts: ``rollback.yml`` under conversations, and how long the way to a warm slot takes.

Four hosts of the lab with a real systemd (``scripts/lab``, root): two with simulated engines under
the real units, two with two proxies each. Six users talk all the time. Each round begins a canary,
waits until it has conversations, and calls the playbook as a user does.

    python -m benchmarks.hosts [--rounds 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, spread, write_result
from coalmine.cli.client import Client

ROOT = Path(__file__).resolve().parents[1]
LAB = Path("/run/lab")
KEY = "sk-lab-master"
INVENTORY = ",".join(str(ROOT / "inventories" / "lab" / name)
                     for name in ("hosts.yml", "second_gateway.yml"))
USERS = 6
CONVERSATIONS = 6
"""Of the candidate, before it is taken back."""


def playbook(name: str, *arguments: str) -> float:
    """Call a playbook and return its seconds.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    began = time.time()
    done = subprocess.run(
        ["ansible-playbook", f"ansible/{name}.yml", *arguments], cwd=ROOT, check=False, text=True,
        capture_output=True, env={**os.environ, "ANSIBLE_INVENTORY": INVENTORY})
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return time.time() - began


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


def rounds(count: int) -> dict[str, list[float]]:
    """Take a canary back `count` times; return seconds and milliseconds of each."""
    client = Client("http://gw1:4000", KEY)
    found: dict[str, list[float]] = {name: [] for name in
                                     ("proved_s", "whole_s", "spread_ms", "flip_ms")}
    result = LAB / "rollback.json"

    def candidates() -> bool:
        arm = client.service("chat")["arms"].get("candidate") or {}
        return (arm.get("conversations") or 0) >= CONVERSATIONS

    for number in range(count):
        until(lambda: client.service("chat")["phase"] in ("idle", "rolled_back"), "at rest")
        client.start("chat", "v2", "a benchmark")
        until(candidates, f"{CONVERSATIONS} conversations on v2")
        began = time.time()
        found["whole_s"].append(playbook("rollback", "-e", f"result={result}"))
        found["proved_s"].append(result.stat().st_mtime - began)
        told = json.loads(result.read_text())
        assert told["outcome"] == "restored", told
        assert told["changed"], told
        applied = [datetime.fromisoformat(one["applied"].replace("Z", "+00:00")).timestamp()
                   for one in client.service("chat")["workers"]]
        found["spread_ms"].append(1000 * (max(applied) - min(applied)))
        found["flip_ms"].append(1000 * told["seconds"])
        print(f"round {number + 1} of {count}: " + ", ".join(
            f"{name} {values[-1]:.2f}" for name, values in found.items()), file=sys.stderr)
    return found


def measure(count: int) -> dict[str, Any]:
    """Return all figures; inside the lab."""
    began = time.time()
    subprocess.run(["scripts/lab", "up"], cwd=ROOT, check=True)
    figures: dict[str, Any] = {"boot_s": time.time() - began, "site_s": playbook("site")}
    figures["site_again_s"] = playbook("site")
    for host in ("gpu1", "gpu2"):
        subprocess.run(["scripts/lab", "exec", host, "systemctl", "stop", "vllm@chat-green"],
                       cwd=ROOT, check=True)
    figures["stage_s"] = playbook("stage", "-e", "release=v2")
    turns = LAB / "turns.jsonl"
    with turns.open("w") as file:
        talk = subprocess.Popen(
            [sys.executable, "molecule/shared/talk.py", "http://gw1:4000", "chat", str(USERS),
             str(LAB / "enough")], cwd=ROOT, stdout=file, env={**os.environ, "COALMINE_KEY": KEY})
        try:
            found = rounds(count)
        finally:
            (LAB / "enough").touch()
            talk.wait(120)
    figures |= {name: spread(values) for name, values in found.items()}
    asked = [json.loads(line) for line in turns.read_text().splitlines()]
    figures["turns"] = len(asked)
    figures["errors"] = sum(one["status"] != 200 for one in asked)
    return {**figures, "rounds": count, "gateways": 4}


def main() -> int:
    """Measure, print, and write the result; outside the lab, go there first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (LAB / "inside").exists():
        binaries = Path(sys.executable).parent
        return subprocess.run(
            ["bash", "scripts/lab", "run", sys.executable, "-m", "benchmarks.hosts",
             *sys.argv[1:]], cwd=ROOT, check=False,
            env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}).returncode
    write_result("hosts", measure(arguments.rounds), machine(), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
