"""One run: the events of a scenario, and when each judge has seen enough."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.verdicts.judge import Judge
from coalmine.sim.conversations import events
from coalmine.sim.scenarios import Scenario


def watch(scenario: Scenario, judges: Sequence[Judge]) -> dict[str, Any]:
    """Return what each judge found: why, and after how many seconds, candidate requests and
    candidate conversations since the onset; seconds are negative before it.

    None stands for a judge that found nothing until the end.
    """
    found: dict[str, Any] = {judge.name: None for judge in judges}
    waiting = list(judges)
    seen = requests = conversations = 0
    onset = scenario.onset
    begun = time.process_time()
    for event in events(scenario):
        seen += 1
        if event.get("arm") == "candidate" and event["t"] >= onset:
            requests += 1
            conversations += event["turn"] == 0
        for judge in waiting:
            why = judge.take(event)
            if why is not None:
                found[judge.name] = {"why": why, "seconds": round(event["t"] - onset, 3),
                                     "requests": requests, "conversations": conversations}
                waiting = [each for each in waiting if each is not judge]
        if not waiting:
            break
    return {"found": found, "events": seen, "cpu": round(time.process_time() - begun, 3)}
