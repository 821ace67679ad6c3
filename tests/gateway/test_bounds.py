"""What a flood of ids costs a worker: the real hooks over the real state, with the clock moved."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.log_entry import entry_of
from coalmine.gateway.memory import SIZE
from coalmine.gateway.newcomers import NEW_A_MINUTE
from coalmine.rollout import Start, apply

IDS = 100_000
MINUTES = 10
POLICY = """
services:
  chat:
    releases: {v1: {slot: blue}, v2: {slot: green}}
    stable: v1
    sessions: {grace: 0s}
    rollout: {steps: [{weight: 100, for: 24h}]}
"""
MODELS = [
    {"model_name": group, "litellm_params": {"model": f"openai/{release}"},
     "model_info": {"id": f"{slot}-1", "service": "chat", "slot": slot}}
    for group, release, slot in (("chat", "v1", "blue"), ("chat.green", "v2", "green"))
]
MIB = 1 << 20


class Key:
    """What LiteLLM's key check hands to the hooks."""

    user_role = "internal_user"

    def __init__(self, name: str) -> None:
        self.api_key = f"hash-of-{name}"
        self.key_alias = name


class Minutes:
    """A monotonic clock at the beginning of a minute, to turn by hand."""

    now = 60.0 * 1000

    def __call__(self) -> float:
        return self.now


class Place:
    """One worker's Coalmine in a running canary at 100 %, with its clock in our hands."""

    def __init__(self, folder: Path) -> None:
        from litellm.types.utils import ModelResponse

        from coalmine.gateway.plugin import CoalminePlugin
        from coalmine.gateway.worker import Worker

        self.response = ModelResponse
        (folder / "coalmine.yaml").write_text(POLICY)
        self.folder, self.clock = folder, Minutes()
        self.worker = Worker({"COALMINE_CONFIG": str(folder / "coalmine.yaml")}, [],
                             mono=self.clock)
        self.worker.assigner._mono = self.clock
        follower = self.worker.follower
        follower.start()
        assert follower.state is not None
        assert self.worker.source.policy is not None
        self.state = follower.state
        service = self.state.load()["chat"]
        event = Start(at=time.time(), who="ann", release="v2",
                      policy=self.worker.source.policy.services["chat"])
        after = apply(service, event)
        assert self.state.swap(service, after, entry_of(service, after, event))
        follower.refresh()
        self.plugin: Any = CoalminePlugin(self.worker)

    async def ask(self, caller: str, answer: str = "An answer.", **request: Any) -> str:
        """One request through the hooks, as LiteLLM calls them; returns the arm it is told."""
        key = Key(caller)
        metadata = {"headers": request.pop("headers", {})}
        data = {"model": "chat", "metadata": metadata,
                "messages": [{"role": "user", "content": "Hi"}], **request}
        await self.plugin.async_pre_call_hook(key, None, data, "acompletion")
        chosen = await self.plugin.async_filter_deployments(
            model="chat", healthy_deployments=[], messages=None, request_kwargs=data)
        data["model_info"] = chosen[0]["model_info"]
        await self.plugin.async_pre_call_deployment_hook(data, "acompletion")
        response = self.response(choices=[
            {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}])
        await self.plugin.async_post_call_success_deployment_hook(data, response, "acompletion")
        told = await self.plugin.async_post_call_response_headers_hook(data, key, response)
        await self.plugin.async_post_call_success_hook(data, key, response)
        await self.plugin.async_log_success_event(
            {"litellm_params": {"metadata": metadata}, "response_cost": 0.0}, None, None, None)
        return str(told["x-coalmine-arm"])

    def a_minute_later(self) -> None:
        """Ship what has ended, and let the worker do what it does twice a second."""
        self.worker.collector.flush(False)
        self.clock.now += 60
        self.worker._tick()

    def pins(self) -> int:
        """How many keys the state holds for conversations, by its file."""
        with sqlite3.connect(self.folder / "coalmine.db.pins") as file:
            (count,) = file.execute("SELECT count(*) FROM pins").fetchone()
        file.close()
        return int(count)

    def longest_key(self) -> int:
        """Bytes of the longest key that the state holds for a conversation."""
        with sqlite3.connect(self.folder / "coalmine.db.pins") as file:
            (length,) = file.execute("SELECT max(length(key)) FROM pins").fetchone()
        file.close()
        return int(length)

    def counted(self, metric: str) -> float:
        """A counter's sum, as the state has it."""
        self.worker.collector.flush(False)
        return sum(value for name, value in self.state.totals(self.worker.gateway).items()
                   if name.startswith(metric))

    def size(self) -> int:
        """Bytes of the state's files."""
        return sum(path.stat().st_size for path in self.folder.glob("coalmine.db*"))

    def close(self) -> None:
        """End what was begun, with all that was counted in the state."""
        self.worker.collector.flush(False)
        self.worker.collector.stop()
        self.worker.follower.stop()
        self.worker.executor.shutdown()


@pytest.fixture
def here(
    place: Path, monkeypatch: pytest.MonkeyPatch, patient_state: None,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Place]:
    """A worker in a canary; the router that LiteLLM would have is a list. A test that fails shows
    what the state answered: while the clock stands, one fault lasts until the minute ends."""
    from coalmine.gateway import litellm_router

    caplog.set_level(logging.DEBUG, "coalmine.assign")

    monkeypatch.setattr(litellm_router, "model_list", lambda: MODELS)
    found = Place(place)
    yield found
    found.close()


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def session(name: object) -> dict[str, str]:
    """Headers with a conversation's id."""
    return {"x-coalmine-session": str(name)}


def test_a_hundred_thousand_ids_of_one_key_pin_no_more_than_its_share_of_each_minute(
    here: Place,
) -> None:
    """The rest gets stable, and leaves nothing: not in the state, not in the worker's memory."""

    async def flood() -> tuple[list[Counter[str]], int]:
        minutes, records = [], 0
        for minute in range(MINUTES):
            minutes.append(Counter([await here.ask("one", headers=session(f"{minute}-{n}"))
                                    for n in range(IDS // MINUTES)]))
            records = max(records, len(here.worker.turns))
            here.a_minute_later()
        return minutes, records

    async def known() -> str:
        return await here.ask("one", headers=session("known"))

    async def story() -> None:
        # The key's own conversation goes on where it is, the other caller's begins as ever.
        assert await known() == "candidate"
        before, size = resident(), here.size()
        minutes, records = await flood()
        assert await known() == "candidate"
        assert await here.ask("other", headers=session("fresh")) == "candidate"
        share = NEW_A_MINUTE
        first = Counter(candidate=share - 1, stable=IDS // MINUTES - share + 1)
        rest = Counter(candidate=share, stable=IDS // MINUTES - share)
        assert minutes == [first, *[rest] * (MINUTES - 1)]
        assert here.pins() == MINUTES * share + 1
        assert len(here.worker.assigner.pins) == MINUTES * share + 1
        assert here.counted("coalmine_conversations_total") == MINUTES * share + 1
        assert here.counted("coalmine_unrecognised_total") == IDS - MINUTES * share + 1
        assert records <= 2 * IDS // MINUTES, "records of requests that are over are swept"
        assert resident() - before < 48 * MIB
        assert here.size() - size < 32 * MIB

    asyncio.run(story())


def test_a_worker_remembers_no_more_conversations_than_its_memory_holds(here: Place) -> None:
    """Of many keys, each within its share: the first are forgotten here, and found in the state."""
    keys = SIZE // NEW_A_MINUTE + 2

    async def story() -> None:
        for key in range(keys):
            for n in range(NEW_A_MINUTE):
                await here.ask(f"key-{key}", headers=session(n))
        everyone = keys * NEW_A_MINUTE
        why = {name: value for name, value in here.state.totals(here.worker.gateway).items()
               if "unrecognised" in name or "fault" in name or "stale" in name or "convers" in name}
        assert len(here.worker.assigner.pins) == SIZE < everyone == here.pins(), why
        here.a_minute_later()
        for n in range(100):
            assert await here.ask("key-0", headers=session(n)) == "candidate"
        assert here.counted("coalmine_conversations_total") == everyone, "none began twice"
        assert here.counted("coalmine_unrecognised_total") == 0

    asyncio.run(story())


def test_conversations_without_an_id_have_the_same_share(here: Place) -> None:
    """Ten thousand that begin in one minute; each pin may be found in two further ways."""

    async def story() -> None:
        arms = Counter([await here.ask("one", f"Answer number {n}, of more than a few words.")
                        for n in range(IDS // MINUTES)])
        assert arms == {"candidate": NEW_A_MINUTE, "stable": IDS // MINUTES - NEW_A_MINUTE}
        assert here.pins() == 3 * NEW_A_MINUTE
        assert len(here.worker.assigner.pins) == NEW_A_MINUTE
        assert len(here.worker.assigner.aliases) == 2 * NEW_A_MINUTE

    asyncio.run(story())


def test_histories_that_nobody_had_have_the_same_share(here: Place) -> None:
    """Few-shot prompts, or a client that makes histories up: stable, and no more pins than that."""

    async def story() -> None:
        for n in range(IDS // MINUTES):
            assert await here.ask("one", f"Answer number {n}, of more than a few words.", messages=[
                {"role": "user", "content": f"q{n}"},
                {"role": "assistant", "content": f"made up {n}, and never said by any model"},
                {"role": "user", "content": "and?"}]) == "stable"
        assert here.pins() <= 3 * NEW_A_MINUTE

    asyncio.run(story())


@pytest.mark.parametrize("name", [
    pytest.param("x" * MIB, id="of 1 MB"),
    pytest.param(bytes(range(1, 256)).decode("latin-1"), id="of every byte"),
    pytest.param("\udcff\ud800", id="of halves of characters"),
    pytest.param("\x00", id="of a zero"),
])
def test_an_id_is_kept_as_a_hash_whatever_it_is(here: Place, name: str) -> None:
    """It is a conversation like any other, and costs no more than any."""

    async def story() -> None:
        size = here.size()
        for _ in range(2):
            assert await here.ask("one", headers=session(name)) == "candidate"
            assert await here.ask("one", headers=session("another" + name)) == "candidate"
        assert here.pins() == 2 == here.counted("coalmine_conversations_total")
        assert here.longest_key() <= 16
        assert all(len(key) <= 16 for key in here.worker.assigner.pins._kept._kept)
        assert here.size() - size < MIB // 2

    asyncio.run(story())
