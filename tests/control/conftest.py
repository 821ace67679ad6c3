"""A real state, a clock to turn, a policy, and attempts as workers ship them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from coalmine.control.access import Forbidden
from coalmine.control.api import build_api
from coalmine.control.commands import Commands, Probe
from coalmine.control.controller import Controller
from coalmine.control.policy_report import PolicyReport
from coalmine.control.surroundings import Surroundings
from coalmine.gateway.follower import Follower
from coalmine.guardrails import Attempt, Outcome, to_row
from coalmine.release import Slot
from coalmine.rollout import (
    Drained,
    Event,
    Halt,
    Policy,
    Promote,
    RollBack,
    Service,
    Start,
    apply,
    first_state,
)
from coalmine.routing import Arm, Phase
from coalmine.state import Batch, Entry, State, StateUnreachable, open_state

POLICY = Policy.model_validate({
    "services": {"chat": {
        "releases": {"v1": {"slot": Slot.BLUE}, "v2": {"slot": Slot.GREEN}},
        "stable": "v1",
        "rollout": {
            "steps": [{"weight": 10, "for": "10m", "min_conversations": 5}, {"weight": 100}],
            "bake": "24h",
        },
        "guardrails": [{"name": "errors", "metric": "error_rate", "max": 0.2, "for": "1m",
                        "min_conversations": 5, "action": "rollback"}],
    }},
})

WAYS: dict[Phase, tuple[type[Event], ...]] = {
    Phase.IDLE: (),
    Phase.CANARY: (Start,),
    Phase.PAUSED: (Start, Halt),
    Phase.BAKING: (Start, Promote, Promote),
    Phase.ROLLING_BACK: (Start, RollBack),
    Phase.ROLLED_BACK: (Start, RollBack, Drained),
}


class Clock:
    """A clock to turn by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The tests' clock."""
    return Clock()


@pytest.fixture
def policy() -> Policy:
    """Two steps, a bake of a day, one guardrail."""
    return POLICY


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the state is: in memory where there is such a place, so that no disk is waited for."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture
def opened(place: Path, until: Callable[..., Any]) -> Iterator[Callable[..., State]]:
    """Open the state of the test once more; all are closed after it."""
    states: list[State] = []

    def one_more() -> State:
        states.append(open_state("sqlite:///coalmine.db", base=place, deadline=5.0))
        return states[-1]

    yield one_more
    for state in states:
        state.close()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("coalmine")])


@pytest.fixture
def state(opened: Callable[..., State]) -> State:
    """The shared state."""
    return opened()


@pytest.fixture
def attempt(clock: Clock) -> Callable[..., Attempt]:
    """An attempt of the candidate that ended now, unless it says otherwise."""

    def make(outcome: Outcome = Outcome.OK, arm: Arm | None = Arm.CANDIDATE, **fields: Any
             ) -> Attempt:
        usual: dict[str, Any] = {
            "at": clock.now, "service": "chat", "release": "v1" if arm is Arm.STABLE else "v2",
            "deployment": "d", "conversation": "c", "caller": "k", "seconds": 1.0,
            "evidence": True, "chance": 0.1,
        }
        return Attempt(arm=arm, outcome=outcome, **{**usual, **fields})

    return make


@pytest.fixture
def ship(state: State) -> Callable[..., None]:
    """Ship attempts as a worker does."""
    numbers = count(1)

    def send(*attempts: Attempt) -> None:
        state.ship(Batch("w1", "g1", next(numbers), tuple(map(to_row, attempts))))

    return send


@pytest.fixture
def put(state: State, clock: Clock, policy: Policy) -> Callable[..., Service]:
    """Put the service into the state as it stands after events, all of them now."""

    def make(*events: Event | type[Event], phase: Phase | None = None) -> Service:
        rules = policy.services["chat"]
        service = first_state("chat", rules, clock.now)
        for each in (*events, *(WAYS[phase] if phase else ())):
            usual = {"release": "v2", "policy": rules} if each is Start else {}
            event = each(at=clock.now, who="ann", **usual) if isinstance(each, type) else each
            service = apply(service, event)
        assert state.swap(None, service, Entry(clock.now, "chat", "ann", "born", "test"))
        return service

    return make


@pytest.fixture
def counted() -> Counter[tuple[str, ...]]:
    """What was counted."""
    return Counter()


@pytest.fixture
def controller(
    clock: Clock, counted: Counter[tuple[str, ...]], state: State, policy: Policy
) -> Iterator[Callable[..., Controller]]:
    """Controllers; those that were started are stopped after the test."""
    made: list[Controller] = []

    def make(worker: str = "w1", on: State | None = None, **fields: Any) -> Controller:
        usual: dict[str, Any] = {
            "state": lambda: on or state, "policy": lambda: policy, "wall": clock,
            "count": lambda *labels, **_: counted.update([labels]),
        }
        made.append(Controller(worker, **{**usual, **fields}))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def follower(
    clock: Clock, opened: Callable[..., State], policy: Policy
) -> Iterator[Callable[..., Follower]]:
    """Followers without a thread: they look when they are told to."""
    made: list[Follower] = []

    def make(connect: Callable[[], State] | None = None, **fields: Any) -> Follower:
        usual: dict[str, Any] = {
            "connect": connect or opened, "policy": lambda: policy, "snapshot": None,
            "in_flight": dict, "on_moves": lambda keys: None, "wall": clock,
        }
        made.append(Follower(f"w{len(made) + 1}", "g1", **{**usual, **fields}))
        made[-1].refresh()
        return made[-1]

    yield make
    for each in made:
        each.stop()


class Engines:
    """Answers of deployments to probes, by slot."""

    def __init__(self) -> None:
        self.answers = {slot: [Probe(f"{slot.value}-1")] for slot in Slot}
        self.asked: list[Slot] = []

    async def __call__(self, service: str, slot: Slot) -> list[Probe]:
        self.asked.append(slot)
        return self.answers[slot]


@pytest.fixture
def engines() -> Engines:
    """Two slots that answer."""
    return Engines()


@pytest.fixture
def commands(
    clock: Clock, counted: Counter[tuple[str, ...]], policy: Policy, engines: Engines
) -> Callable[..., Commands]:
    """The commands of a worker."""
    return lambda applied, **fields: Commands(applied, **{
        "policy": lambda: policy, "probe": engines, "wall": clock,
        "count": lambda *labels, **_: counted.update([labels]), **fields,
    })


# the API over HTTP --------------------------------------------------------------------------------
ADMIN = {"authorization": "Bearer sk-admin"}


@dataclass
class Api:
    """The API, and what is behind it."""

    client: TestClient
    engines: Any
    state: State
    away: Any

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(f"/coalmine{path}", **{"headers": ADMIN, **more})

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.client.post(f"/coalmine{path}", json=body, **{"headers": ADMIN, **more})

    def put(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.client.put(f"/coalmine{path}", json=body, **{"headers": ADMIN, **more})


class Away:
    """A state that can be out of reach; a real one cannot be told when."""

    def __init__(self, state: State) -> None:
        self.real, self.away = state, False

    def __getattr__(self, name: str) -> Any:
        if self.away and name != "close":
            raise StateUnreachable("away")
        return getattr(self.real, name)


async def admin_of(request: Request, token: str) -> str | None:
    if token == "sk-admin":
        return "root"
    if token == "sk-user":
        raise Forbidden("this key is no proxy admin's")
    return None


@pytest.fixture
def operators(policy: Policy) -> Policy:
    """The policy with an operator who may pause and roll back."""
    return Policy.model_validate({**policy.model_dump(), "operators": [{
        "name": "oncall", "token_sha256": hashlib.sha256(b"op").hexdigest(),
        "may": ["pause", "rollback"]}]})


@pytest.fixture
def api(
    state: State, follower: Callable[..., Follower],
    commands: Callable[..., Commands], engines: Any, operators: Policy, clock: Any,
    put: Callable[..., Service],
) -> Iterator[Callable[..., Api]]:
    """The API of a worker, with the service in a phase."""
    pools: list[ThreadPoolExecutor] = []

    def make(phase: Phase | None = Phase.IDLE, **fields: Any) -> Api:
        if phase is not None:
            put(phase=phase)
        away = Away(state)
        applied = follower(lambda: away)
        pools.append(ThreadPoolExecutor(2))
        around = Surroundings(**{
            "commands": commands(applied, policy=lambda: operators,
                                 report=fields.get("report", PolicyReport)),
            "applied": applied,
            "policy": lambda: operators, "admin": admin_of, "metrics": lambda: "coalmine_up 1\n",
            "health": lambda: ({"status": "ok"}, True), "metrics_token": lambda: "m-token",
            "alert_token": lambda: "a-token", "executor": pools[-1], "wall": clock, **fields,
        })
        app = FastAPI()
        app.include_router(build_api(around))
        app.add_api_route("/health", lambda: "LiteLLM's")  # ours stand first in the proxy too
        return Api(TestClient(app), engines, state, away)

    yield make
    for pool in pools:
        pool.shutdown()


@pytest.fixture
def error_of() -> Callable[..., dict[str, str]]:
    """Return the error that an answer tells, which has the form of all our errors."""

    def told(answer: Any, status: int, code: str) -> dict[str, str]:
        assert answer.status_code == status, answer.text
        error: dict[str, str] = answer.json()["error"]
        assert set(error) == {"code", "message", "hint"}
        assert error["code"] == code
        assert error["message"]
        return error

    return told
