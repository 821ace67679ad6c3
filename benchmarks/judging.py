"""How fast events are made, judged and counted: what bounds a replay and the controller.

CPU time of one thread. The events are those of a healthy simulated canary, so that nothing ends it.

    python -m benchmarks.judging [--events 100000] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, spread, write_result
from coalmine.guardrails import Attempt
from coalmine.guardrails.window import Window
from coalmine.record.events import Reader
from coalmine.record.replay import Replay
from coalmine.rollout.policy import ServicePolicy
from coalmine.sim.conversations import events
from coalmine.sim.scenarios import named

POLICY = {"releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}, "stable": "v1",
          "rollout": {"steps": [{"weight": 5, "for": "30d"}]}}


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Return microseconds of CPU per event."""
    rounds_of = [_round(count, seed) for seed in range(rounds)]
    simulated, replayed, added = (
        spread([seconds / count * 1e6 for seconds in column])
        for column in zip(*rounds_of, strict=True))
    return {"events": count, "simulated_us": simulated, "replayed_us": replayed,
            "window_us": added}


def _round(count: int, seed: int) -> tuple[float, float, float]:
    """Return the CPU seconds that events take to be made, to be replayed and to be counted."""
    began = time.process_time()
    recorded = list(islice(events(named("healthy", rate=100.0, seed=seed)), count))
    made = time.process_time()
    replay = Replay("chat", ServicePolicy.model_validate(POLICY))
    for _ in replay.run(Reader("chat").events(iter(recorded))):
        pass
    judged = time.process_time()
    if replay.result().decision != "none":
        raise SystemExit(f"seed {seed}: the healthy candidate was judged: {replay.result()}")
    attempts = [one for one in Reader("chat").events(iter(recorded)) if isinstance(one, Attempt)]
    window = Window(300.0)
    began_adding = time.process_time()
    for attempt in attempts:
        window.add(attempt)
    added = (time.process_time() - began_adding) * count / len(attempts)
    return made - began, judged - made, added


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.events, arguments.rounds)
    write_result("judging", result, machine(), arguments.json)


if __name__ == "__main__":
    main()
