"""What the engine remembers, reports and refuses, whatever its faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from coalmine.sim import EngineProcess, Faults

Until = Callable[..., Any]

CHAT = "/v1/chat/completions"


def hi(text: str = "Hi", **more: Any) -> dict[str, Any]:
    """A chat of one message."""
    return {"model": "chat", "messages": [{"role": "user", "content": text}], **more}


def said(reply: httpx.Response) -> str:
    """The words of a chat answer."""
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


def test_a_repeat_says_the_same_words_and_another_question_others(http: httpx.Client) -> None:
    """The text depends on the question, not on when or how often it is asked."""
    first, again, other = (http.post(CHAT, json=hi(text)) for text in ("Hi", "Hi", "Ho"))
    assert said(first) == said(again) != said(other)
    assert first.json()["id"] != again.json()["id"]


def test_the_same_seed_meets_the_same_faults_again(
    engine: EngineProcess, http: httpx.Client
) -> None:
    """Two runs of one seed fail at the same requests."""
    runs = []
    for _ in range(2):
        engine.reset()
        engine.set_faults(error_share=0.3, bad_request_share=0.2)
        runs.append([http.post(CHAT, json=hi(str(i))).status_code for i in range(40)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 400, 500}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, b"{no json"),
        (CHAT, b"\xff\xfe"),
        (CHAT, b"[]"),
        (CHAT, b"{}"),
        (CHAT, b'{"messages": []}'),
        (CHAT, b'{"messages": "Hi"}'),
        (CHAT, b'{"messages": ["Hi"]}'),
        (CHAT, b'{"messages": [{"role": "user"}], "max_tokens": 0}'),
        (CHAT, b'{"messages": [{"role": "user"}], "model": 3}'),
        ("/v1/completions", b"{}"),
        ("/v1/responses", b"{}"),
        ("/v1/responses", b'{"input": "Hi", "previous_response_id": 3}'),
        ("/v1/messages", b"{}"),
        ("/v1/embeddings", b'{"input": []}'),
        ("/v1/embeddings", b'{"input": "a", "dimensions": 1000000}'),
    ],
)
def test_a_malformed_request_is_the_clients_error(
    engine: EngineProcess, http: httpx.Client, path: str, body: bytes
) -> None:
    """400 in vLLM's shape, counted apart from the engine's own faults."""
    reply = http.post(path, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "BadRequestError"
    assert engine.requests()["outcomes"] == {"invalid": 1}


def test_odd_messages_are_answered(http: httpx.Client) -> None:
    """Parts, missing content, deep histories and half a surrogate pair do no harm."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, 3]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "\ud83d"},
    ]
    body = json.dumps({"messages": messages, "tools": 3})
    assert http.post(CHAT, content=body).status_code == 200
    recent = http.get("/sim/requests").json()["requests"]
    assert [one["message"] for one in recent] == ["\ud83d"]


def test_the_last_requests_are_kept_with_what_they_were(
    engine: EngineProcess, http: httpx.Client
) -> None:
    """Number, path, model, session, outcome and the beginning of the last user message."""
    http.post(CHAT, json=hi("x" * 100), headers={"x-coalmine-session": "abc"})
    http.post("/v1/embeddings", json={"input": ["one", "two"]})
    http.post(CHAT, json={**hi(), "model": "nobody"})
    kept = engine.requests()
    assert (kept["name"], kept["release"], kept["total"]) == ("green", "v2", 3)
    assert kept["running"] == 0
    assert kept["outcomes"] == {"ok": 2, "unknown_model": 1}
    first, second, third = kept["requests"]
    assert first == {
        "n": 1,
        "path": CHAT,
        "model": "chat",
        "session": "abc",
        "outcome": "ok",
        "message": "x" * 80,
    }
    assert (second["n"], second["message"], second["session"]) == (2, "two", None)
    assert (third["model"], third["outcome"]) == ("nobody", "unknown_model")
    assert [one["n"] for one in engine.requests(last=1)["requests"]] == [3]
    assert http.get("/sim/requests?last=x").status_code == 400


def test_a_reset_engine_has_seen_nothing(engine: EngineProcess, http: httpx.Client) -> None:
    """Counts, requests and faults are those of the start."""
    engine.set_faults(overload=True)
    http.post(CHAT, json=hi())
    engine.reset()
    assert engine.requests()["total"] == 0
    assert engine.faults() == Faults()


def test_faults_are_switched_over_http(engine: EngineProcess, http: httpx.Client) -> None:
    """PUT replaces all of them, GET tells them, and nonsense changes nothing."""
    assert http.put("/sim/faults", json={"error_share": 0.5}).json()["error_share"] == 0.5
    assert http.put("/sim/faults", json={"overload": True}).json()["error_share"] == 0
    for nonsense in (b'{"cut_share": 2}', b'{"cutshare": 1}', b"[]", b"{"):
        reply = http.put("/sim/faults", content=nonsense)
        assert reply.status_code == 400
        assert reply.json()["error"]["message"]
    assert http.get("/sim/faults").json() == Faults(overload=True).to_dict()


def test_health_is_good_whatever_the_faults(engine: EngineProcess, http: httpx.Client) -> None:
    """As with vLLM it says nothing about the answers."""
    engine.set_faults(error_share=1)
    assert http.get("/health").status_code == 200


def test_only_posts_are_answered(http: httpx.Client) -> None:
    """A GET of an API is no request of it."""
    assert http.get(CHAT).status_code == 405
    assert http.get("/v1/nothing").status_code == 404


def test_metrics_count_under_vllms_names(http: httpx.Client) -> None:
    """Successes by reason, and every token in a histogram."""

    def figures() -> dict[str, float]:
        lines = http.get("/metrics").text.splitlines()
        pairs = (re.fullmatch(r"(vllm:\S+) (\S+)", line) for line in lines)
        return {pair[1]: float(pair[2]) for pair in pairs if pair}

    labels = 'engine="0",model_name="chat-v2"'
    before = figures()
    http.post(CHAT, json=hi(stream=True))
    http.post(CHAT, json=hi(max_tokens=2))
    after = figures()

    def grown(name: str) -> float:
        return after[name] - before[name]

    success = 'vllm:request_success_total{engine="0",finished_reason="%s",model_name="chat-v2"}'
    assert grown(success % "stop") == 1
    assert grown(success % "length") == 1
    assert grown(f"vllm:time_to_first_token_seconds_count{{{labels}}}") == 2
    assert grown(f"vllm:inter_token_latency_seconds_count{{{labels}}}") == 11 + 1
    assert grown(f"vllm:e2e_request_latency_seconds_count{{{labels}}}") == 2
    assert grown(f"vllm:generation_tokens_total{{{labels}}}") == 14
    assert after[f"vllm:num_requests_running{{{labels}}}"] == 0
    assert after[f"vllm:num_requests_waiting{{{labels}}}"] == 0
    assert after[f"vllm:kv_cache_usage_perc{{{labels}}}"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_disconnect_ends_the_work_and_is_no_error(
    engine: EngineProcess, http: httpx.Client, until: Until, stream: bool
) -> None:
    """The engine stops at once, though the answer would have taken minutes."""
    engine.set_faults(latency_factor=1000 if not stream else 1, inter_token_factor=10_000)
    if stream:
        with http.stream("POST", CHAT, json=hi(stream=True)) as reply:
            parts = reply.iter_raw()
            assert b"[v2]" in next(parts)
            assert engine.requests()["running"] == 1
    else:
        with pytest.raises(httpx.ReadTimeout):
            http.post(CHAT, json=hi(), timeout=0.2)
    until(lambda: engine.requests()["running"] == 0, 1.0)
    assert engine.requests()["outcomes"] == {"disconnect": 1}
    running = 'vllm:num_requests_running{engine="0",model_name="chat-v2"} 0.0'
    assert running in http.get("/metrics").text


def test_many_requests_at_once_are_all_answered(engine: EngineProcess) -> None:
    """Streams run side by side, and the counts are whole."""

    async def one(client: httpx.AsyncClient, number: int) -> None:
        reply = await client.post(CHAT, json=hi(str(number), stream=True))
        assert reply.text.endswith("[DONE]\n\n")

    async def all_of_them() -> None:
        limits = httpx.Limits(max_connections=100)
        async with (
            httpx.AsyncClient(
                base_url=engine.url, trust_env=False, verify=False, limits=limits, timeout=20
            ) as client,
            anyio.create_task_group() as group,
        ):
            for number in range(100):
                group.start_soon(one, client, number)

    anyio.run(all_of_them)
    assert engine.requests()["outcomes"] == {"ok": 100}
