"""Our own work per request on the hot path: the hooks, called as LiteLLM calls them.

CPU time of the event loop's thread for known conversations; wall time, with the look at the state,
for new ones.

No proxy and no engine: real hooks, the real embedded state, chunks made of LiteLLM's own types. A
known conversation costs no look at the state; a new one costs one claim, which is timed apart.

    python -m benchmarks.hooks [--requests 3000] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from litellm.types.utils import ModelResponseStream

from benchmarks.machine import machine, spread, write_result
from coalmine.control.log_entry import entry_of
from coalmine.gateway.fleet import read_fleet
from coalmine.gateway.plugin import CoalminePlugin
from coalmine.gateway.worker import Worker
from coalmine.rollout import events as ev
from coalmine.rollout.transitions import apply

POLICY = """
services:
  chat:
    releases: {v1: {slot: blue}, v2: {slot: green}}
    stable: v1
    sessions: {grace: 0s}
    rollout: {steps: [{weight: 50, for: 24h}]}
"""

CHUNKS = 7


class Key:
    """What LiteLLM's key check hands to the hooks."""

    api_key = "hash-of-a-key"
    key_alias = "team-a"
    user_role = "internal_user"


async def _stream(chunks: list[Any]) -> Any:
    for chunk in chunks:
        yield chunk


async def one(plugin: Any, number: int, conversation: str, chunks: list[Any]) -> None:
    """One streamed chat request, from its first hook to its last."""
    metadata = {"headers": {"x-coalmine-session": conversation}, "user_api_key_hash": "x"}
    data = {"model": "chat", "stream": True, "metadata": metadata,
            "messages": [{"role": "user", "content": f"question {number}"}]}
    await plugin.async_pre_call_hook(Key(), None, data, "acompletion")
    chosen = await plugin.async_filter_deployments(
        model="chat", healthy_deployments=[], messages=None, request_kwargs=data
    )
    data["model_info"] = chosen[0]["model_info"]
    await plugin.async_pre_call_deployment_hook(data, "acompletion")
    await plugin.async_post_call_response_headers_hook(data, Key(), None)
    async for _ in plugin.async_post_call_streaming_iterator_hook(Key(), _stream(chunks), data):
        pass
    await plugin.async_log_success_event(
        {"litellm_params": {"metadata": metadata}, "response_cost": 0.0}, None, None, None
    )


async def measure(requests: int) -> dict[str, Any]:
    """Return microseconds of CPU and wall per request."""


    with TemporaryDirectory() as folder:
        policy = Path(folder) / "coalmine.yaml"
        policy.write_text(POLICY)
        worker = Worker({"COALMINE_CONFIG": str(policy)}, [])
        worker.follower.refresh()
        worker._fleet = read_fleet(
            [{"model_name": g, "litellm_params": {"model": f"openai/{r}"},
              "model_info": {"id": f"{s}-1", "service": "chat", "slot": s}}
             for g, r, s in (("chat", "v1", "blue"), ("chat.green", "v2", "green"))], ["chat"])
        worker._cooled_at = float("inf")  # LiteLLM's own cooldown look-up is not our work
        state = worker.follower.state
        service = state.load()["chat"]
        event = ev.Start(at=time.time(), who="bench", release="v2",
                         policy=worker.source.policy.services["chat"])
        after = apply(service, event)
        assert state.swap(service, after, entry_of(service, after, event))
        worker.follower.refresh()
        plugin = CoalminePlugin(worker)
        chunks = [ModelResponseStream(choices=[{"index": 0, "delta": {"content": f"word{n} "},
                                                "finish_reason": None}]) for n in range(CHUNKS - 1)]
        chunks.append(ModelResponseStream(choices=[{"index": 0, "delta": {},
                                                    "finish_reason": "stop"}]))
        conversations = [f"conversation-{n}" for n in range(200)]
        for n, name in enumerate(conversations):
            await one(plugin, n, name, chunks)

        async def empty() -> None:
            async for _ in _stream(chunks):
                pass

        known, bare, fresh = [], [], []
        for block in range(30):
            per = requests // 30
            gc.collect(1)
            began = time.thread_time()
            for n in range(per):
                await one(plugin, n, conversations[n % 200], chunks)
            known.append((time.thread_time() - began) / per * 1e6)
            began = time.thread_time()
            for _ in range(per):
                await empty()
            bare.append((time.thread_time() - began) / per * 1e6)
            began = time.perf_counter()
            for n in range(per // 10):
                await one(plugin, n, f"new-{block}-{n}", chunks)
            fresh.append((time.perf_counter() - began) / (per // 10) * 1e6)
            worker.collector._attempts.clear()
            worker.turns._by_token.clear()
        state.close()
    net = [a - b for a, b in zip(known, bare, strict=True)]
    return {
        "known_conversation_us": spread(net),
        "new_conversation_us": spread(fresh),
        "chunks": CHUNKS,
        "goal_us": 50,
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.requests))
    write_result("hooks", result, machine(), arguments.json)


if __name__ == "__main__":
    main()
