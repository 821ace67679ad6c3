"""What a real gateway records: every attempt once, readable again, and nothing of what was said."""

from __future__ import annotations

import json
import signal
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from coalmine.guardrails import Attempt, Outcome
from coalmine.record.events import Reader
from coalmine.record.sources import read_source
from coalmine.routing import Arm

from .conftest import Starter
from .engines import Engines
from .gateway import Gateway, eventually
from .worlds import Svc, world

HALF = {"steps": [{"weight": 50, "for": "10h"}, {"weight": 100, "for": "10h"}], "bake": "10h",
        "holdback": 0}
SERVICES = [Svc("noted", rollout=HALF), Svc("other", rollout=HALF)]
KEYS = {"sk-alice-secret": "alice", "sk-bob-secret": "bob"}
SECRET = "my-most-private-words"
CONVERSATIONS = 12


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """Two workers that record into one folder."""
    (found,) = start(world("recording", SERVICES, engines, workers=2, keys=KEYS,
                           top={"record": {"folder": "recorded"}}))
    for service in ("noted", "other"):
        found.command(service, "start", release="v2")
    return found


def read(folder: Path, service: str) -> list[Attempt]:
    """A service's attempts; of the others only that they are others."""
    reader = Reader(service, stable="v1", candidate="v2")
    found = list(reader.events(read_source(folder)))
    assert set(reader.faults) <= {"other_service"}
    assert all(isinstance(one, Attempt) for one in found)
    return found  # type: ignore[return-value]


def talk(gateway: Gateway, engines: Engines) -> int:
    """Conversations of two turns by two callers, until the candidate has failed one; how many."""
    for number in range(CONVERSATIONS):
        client = gateway.client(list(KEYS)[number % 2])
        for turn in range(2):
            assert client.ask("chat", "noted", f"{SECRET} {turn}", session=f"{SECRET}-{number}",
                              stream=bool(turn)).good
    with engines.faults("green", error_share=1):
        for number in range(CONVERSATIONS, 100):
            answer = gateway.client("sk-bob-secret").ask("chat", "noted", SECRET,
                                                         session=f"{SECRET}-{number}")
            assert answer.good
            if answer.moved:
                break
    assert gateway.client("sk-alice-secret").ask("chat", "other", SECRET).good
    return number + 1


def test_what_was_recorded_is_what_happened(
    gateway: Gateway, engines: Engines
) -> None:
    """The engines are the witness; what is held is written when the gateway is told to stop."""
    before = engines.total()
    conversations = talk(gateway, engines)
    asked: Any = engines.asked("noted", before)
    eventually(lambda: sum(gateway.metrics()["coalmine_attempts_total"].values())
               == sum(asked.values()) + 1)
    gateway.signal(signal.SIGTERM)
    assert gateway.process is not None
    gateway.process.wait(20)
    folder = gateway.directory / "recorded"
    found = read(folder, "noted")

    assert len(found) == sum(asked.values())
    arms = Counter(one.arm for one in found)
    assert arms[Arm.STABLE] == sum(n for (name, _), n in asked.items() if "-blue-" in name)
    assert arms[Arm.CANDIDATE] == sum(n for (name, _), n in asked.items() if "-green-" in name)
    (failed,) = (one for one in found if one.failed)
    assert (failed.arm, failed.outcome) == (Arm.CANDIDATE, Outcome.ERROR)

    talked = Counter(one.conversation for one in found)
    assert len(talked) == conversations
    begun = Counter(one.conversation for one in found if one.first_turn)
    assert begun == {name: 2 if name == failed.conversation else 1 for name in talked}, "rescued"
    assert all(one.evidence and one.chance == pytest.approx(0.5)
               for one in found if one.arm is Arm.CANDIDATE)
    assert len({one.caller for one in found}) == 2
    assert all(one.seconds > 0 and (one.failed or one.tokens) for one in found)
    assert len(read(folder, "other")) == 1


def test_it_holds_hashes_and_figures_and_is_the_owners_alone(gateway: Gateway) -> None:
    """Neither keys nor their aliases, neither ids nor texts."""
    folder = gateway.directory / "recorded"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        for word in (SECRET, *KEYS, *KEYS.values(), "sk-", "127.0.0.1"):
            assert word not in text
        for line in text.splitlines():
            texts = {value for value in json.loads(line).values() if isinstance(value, str)}
            known = {"noted", "other", "v1", "v2", "stable", "candidate", "ok", "error"}
            assert all(len(value) == 16 and int(value, 16) >= 0 for value in texts - known)
