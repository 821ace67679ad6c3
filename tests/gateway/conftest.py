"""Workers over one real state, without LiteLLM: followers, assigners and what they count."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from coalmine.gateway.assign import Assigner
from coalmine.gateway.decisions import Up
from coalmine.gateway.follower import Follower
from coalmine.gateway.identity import identify
from coalmine.gateway.turns import Turn, Turns
from coalmine.release import Slot
from coalmine.rollout import Policy, Service, Start, apply, first_state
from coalmine.routing import Arm
from coalmine.state import Entry, State, StateUnreachable, open_state

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # LiteLLM would ask the network for prices

THREADS = 2
"""Threads of a worker for calls to the state."""


def make_policy(weight: float = 50, **fields: Any) -> Policy:
    """A policy of one service with one step of this weight, and no grace."""
    return Policy.model_validate({"services": {"chat": {
        "releases": {"v1": {"slot": Slot.BLUE}, "v2": {"slot": Slot.GREEN}},
        "stable": "v1",
        "rollout": {"steps": [{"weight": weight}], "bake": "24h", "holdback": 2},
        "sessions": {"grace": "0s"}, **fields,
    }}})


class Clock:
    """A clock to turn by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Away:
    """A state that can be out of reach; a real one cannot be told when."""

    def __init__(self, state: State) -> None:
        self.real, self.away, self.calls = state, False, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.real, name)
        if not callable(real) or name == "generation" or (name == "close" and not self.away):
            return real
        if name == "close":
            return lambda: None  # it is opened but once, and closed after the test

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.away:
                raise StateUnreachable("away")
            return real(*arguments, **named)

        return call


class Worker:
    """One worker: what it knows, and how it gives arms to turns."""

    def __init__(self, state: Away, policy: Policy | None, clock: Clock, mono: Clock, **fields: Any
                 ) -> None:
        self.away, self.clock, self.mono = state, clock, mono
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.executor = ThreadPoolExecutor(THREADS)
        usual: dict[str, Any] = {
            "connect": lambda: state, "policy": lambda: policy, "snapshot": None,
            "in_flight": dict, "on_moves": self.moved, "wall": clock, "mono": mono,
        }
        self.follower = Follower(f"w-{id(self)}", "g1", **{**usual, **fields})
        self.assigner = Assigner(self.follower, self.count, clock, self.executor, mono)
        self.turns = Turns()

    def count(self, *labels: str, **_: Any) -> None:
        self.counted[labels] += 1

    def moved(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self.assigner.pins.clear()
        for key in keys or ():
            self.assigner.pins.forget(key)

    @property
    def plan(self) -> Any:
        return self.follower.plan("chat")

    async def assign(self, data: dict[str, Any], *, kind: str = "chat", caller: str = "k",
                     up: Up | None = None, stale_after: float = 3.0, **headers: str) -> Turn:
        turn = self.turns.begin(data, "chat", kind, self.mono.now)
        turn.caller = caller
        identity = identify(
            data, {"headers": {f"x-{name}": value for name, value in headers.items()}},
            service="chat", kind=kind, caller=caller, unit=self.plan.unit, headers=["x-session"],
            salt=self.follower.salt())
        await self.assigner.assign(turn, identity, self.plan, up or Up(), stale_after)
        return turn

    async def answer(self, turn: Turn, text: str = "", response_id: str | None = None) -> None:
        turn.answer, turn.response_id = text, response_id
        await self.assigner.answered(turn, self.plan)

    async def say(self, *messages: str, **fields: Any) -> Turn:
        """One turn of a chat; user and assistant take turns in `messages`."""
        roles = ("user", "assistant")
        return await self.assign({"messages": [
            {"role": roles[n % 2], "content": text} for n, text in enumerate(messages)]}, **fields)

    async def on_candidate(self, prefix: str = "s") -> tuple[str, Turn]:
        """Return the id and the first turn of a conversation that was drawn to the candidate."""
        for number in range(200):
            turn = await self.say("Hi", session=f"{prefix}{number}")
            if turn.decision is not None and turn.decision.arm is Arm.CANDIDATE:
                return f"{prefix}{number}", turn
        raise AssertionError("nobody was drawn")

    def rescue(self, turn: Turn) -> None:
        """The candidate failed a turn: decide it again."""
        turn.failed.add(Arm.CANDIDATE)
        turn.ended = 1
        self.assigner.again(turn, self.plan, Up(candidate=False))

    async def settled(self) -> None:
        """Wait until what was left to threads is done: all of them meet, so all are free."""
        loop = asyncio.get_running_loop()
        free = threading.Barrier(THREADS)
        await asyncio.gather(*(loop.run_in_executor(self.executor, free.wait, 10.0)
                               for _ in range(THREADS)))


@pytest.fixture
def patient_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole worker's state has time: what could delay a call is LiteLLM's garbage, no fault.

    A collection of its heap takes longer than the store's own deadline, and a test's process does
    not keep it out as a worker's does.
    """
    from coalmine.gateway import worker

    monkeypatch.setattr(worker, "open_state", partial(worker.open_state, deadline=5.0))


@pytest.fixture
def anyio_backend() -> str:
    """The loop that LiteLLM runs on."""
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    """The wall clock of the tests."""
    return Clock()


@pytest.fixture
def mono() -> Clock:
    """The monotonic clock of the tests."""
    return Clock()


@pytest.fixture
def policy() -> Policy:
    """Half of the new conversations go to the candidate."""
    return make_policy()


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

    def one_more(name: str = "coalmine.db") -> State:
        states.append(open_state(f"sqlite:///{name}", base=place, deadline=5.0))
        return states[-1]

    yield one_more
    for state in states:
        state.close()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("coalmine")])


@pytest.fixture
def state(opened: Callable[..., State]) -> State:
    """The shared state, for the test itself."""
    return opened()


@pytest.fixture
def worker(opened: Callable[..., State], policy: Policy, clock: Clock, mono: Clock
           ) -> Iterator[Callable[..., Worker]]:
    """Workers of one service; each has the state open for itself."""
    made: list[Worker] = []

    def make(*, look: bool = True, policy: Policy | None = policy, on: State | None = None,
             **fields: Any) -> Worker:
        made.append(Worker(Away(on or opened()), policy, clock, mono, **fields))
        if look:
            made[-1].follower.refresh()
        return made[-1]

    yield make
    for each in made:
        each.follower.stop()
        each.executor.shutdown()


@pytest.fixture
def change(state: State, policy: Policy, clock: Clock) -> Callable[..., Service]:
    """Change the service in the state by events; born if need be."""

    def make(*events: Any) -> Service:
        before = state.load().get("chat")
        service = before or first_state("chat", policy.services["chat"], clock.now)
        if before is None:
            assert state.swap(None, service, Entry(0, "chat", "ann", "born", ""))
        for each in events:
            usual = {"release": "v2", "policy": policy.services["chat"]} if each is Start else {}
            event = each(at=clock.now, who="ann", **usual) if isinstance(each, type) else each
            after = apply(service, event)
            assert state.swap(service, after, Entry(0, "chat", "ann", "test", ""))
            service = after
        return service

    return make


@pytest.fixture
def during(worker: Callable[..., Worker], change: Callable[..., Service]) -> Callable[..., Worker]:
    """A worker that starts with the service as it stands after some events."""

    def make(*events: Any) -> Worker:
        change(*events)
        return worker()

    return make


@pytest.fixture
def here(during: Callable[..., Worker]) -> Worker:
    """A worker of a canary: half of the new conversations go to the candidate."""
    return during(Start)


@pytest.fixture
def there(here: Worker, worker: Callable[..., Worker]) -> Worker:
    """Another one."""
    return worker()
