"""Every fault, as a client meets it over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from coalmine.sim import EngineProcess

Until = Callable[..., Any]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50},
    "/v1/embeddings": {"input": "Hi"},
}
STREAMED = [path for path in BODIES if path != "/v1/embeddings"]
CHAT = "/v1/chat/completions"


def ask(http: httpx.Client, path: str = CHAT, **more: Any) -> httpx.Response:
    """Post the path's body and whatever else is given."""
    return http.post(path, json={**BODIES[path], **more})


def outcomes(engine: EngineProcess) -> dict[str, int]:
    """How many requests ended how."""
    counted: dict[str, int] = engine.requests(last=0)["outcomes"]
    return counted


def message_in(body: dict[str, Any]) -> str:
    """The error's message, in either API's shape."""
    text: str = body["error"]["message"]
    return text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("faults", "status", "outcome"),
    [
        ({"error_share": 1}, 500, "error"),
        ({"error_share": 1, "error_status": 502}, 502, "error"),
        ({"bad_request_share": 1}, 400, "bad_request"),
        ({"unknown_model": True}, 404, "unknown_model"),
        ({"overload": True}, 429, "overload"),
        ({"max_queued": 0}, 503, "rejected"),
        ({"sse_error_share": 1}, 500, "sse_error"),
        ({"sse_error_mid_share": 1}, 500, "sse_error_mid"),
    ],
    ids=str,
)
def test_a_failing_engine_answers_with_its_status(
    engine: EngineProcess,
    http: httpx.Client,
    path: str,
    faults: dict[str, Any],
    status: int,
    outcome: str,
) -> None:
    """Every API gives the status, an error of its own shape, and the outcome is counted."""
    engine.set_faults(**faults)
    reply = ask(http, path)
    assert reply.status_code == status
    assert message_in(reply.json())
    assert outcomes(engine) == {outcome: 1}


@pytest.mark.parametrize("path", BODIES)
def test_without_authority_nothing_is_answered(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """401 as vLLM's key check says it, for the list of models too."""
    engine.set_faults(auth=True)
    reply = ask(http, path)
    assert (reply.status_code, reply.json()) == (401, {"error": "Unauthorized"})
    assert http.get("/v1/models").status_code == 401
    assert outcomes(engine) == {"auth": 1}


@pytest.mark.parametrize("path", STREAMED)
def test_an_error_can_be_the_first_event_of_a_good_stream(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """HTTP 200, and nothing but an error in it."""
    engine.set_faults(sse_error_share=1)
    reply = ask(http, path, stream=True)
    assert reply.status_code == 200
    data = [line for line in reply.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "data: [DONE]"
    assert len(data) == 2
    assert "EngineCore" in message_in(json.loads(data[0].removeprefix("data: ")))
    assert outcomes(engine) == {"sse_error": 1}


@pytest.mark.parametrize("path", STREAMED)
def test_an_error_can_follow_some_content(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """HTTP 200, words, an error, [DONE] and no finish."""
    engine.set_faults(sse_error_mid_share=1)
    text = ask(http, path, stream=True).text
    assert "[v2]" in text
    assert text.index("[v2]") < text.index("EngineCore")
    assert text.endswith("data: [DONE]\n\n")
    assert '"stop"' not in text
    assert outcomes(engine) == {"sse_error_mid": 1}


@pytest.mark.anyio
async def test_the_sdks_raise_what_a_stream_reports(
    engine: EngineProcess,
    openai_client: openai.AsyncOpenAI,
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    """Both SDKs find the error inside the stream."""
    engine.set_faults(sse_error_mid_share=1)
    messages: Any = BODIES[CHAT]["messages"]
    seen = ""
    with pytest.raises(openai.APIError, match="EngineCore"):
        async for chunk in await openai_client.chat.completions.create(
            model="chat", messages=messages, stream=True
        ):
            seen += chunk.choices[0].delta.content or ""
    assert seen.startswith("[v2]")
    with pytest.raises(anthropic.APIError, match="EngineCore"):
        async for _ in await anthropic_client.messages.create(
            model="chat", max_tokens=50, messages=messages, stream=True
        ):
            pass


@pytest.mark.parametrize("path", STREAMED)
def test_a_cut_stream_ends_without_its_end(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """Some words arrive, then the connection is gone."""
    engine.set_faults(cut_share=1)
    got = b""
    body = {**BODIES[path], "stream": True}
    with pytest.raises(httpx.RemoteProtocolError), http.stream("POST", path, json=body) as reply:
        for part in reply.iter_raw():
            got += part
    assert b"[v2]" in got
    assert b"[DONE]" not in got
    assert outcomes(engine) == {"cut": 1}


@pytest.mark.parametrize("path", BODIES)
def test_a_cut_answer_is_half_a_body(engine: EngineProcess, http: httpx.Client, path: str) -> None:
    """An answer that is no stream breaks off in the middle of its JSON."""
    engine.set_faults(cut_share=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(http, path)
    assert outcomes(engine) == {"cut": 1}


@pytest.mark.parametrize("path", BODIES)
def test_a_cut_leaves_no_trace_in_the_engines_log(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """A fault on purpose is no complaint of the server."""
    engine.set_faults(cut_share=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(http, path)
    assert engine.log() == ""


@pytest.mark.parametrize("stream", [False, True])
def test_a_stalled_answer_is_silent_and_then_goes_on(
    engine: EngineProcess, http: httpx.Client, stream: bool
) -> None:
    """It takes the stall longer, and is complete."""
    engine.set_faults(stall_share=1, stall_seconds=0.3)
    began = time.monotonic()
    text = ask(http, stream=stream).text
    assert time.monotonic() - began >= 0.3
    assert '"finish_reason":"stop"' in text
    assert outcomes(engine) == {"stall": 1}


def test_a_stall_comes_after_the_first_words(
    engine: EngineProcess, http: httpx.Client, until: Until
) -> None:
    """The client has read something when the silence begins; leaving then is the stall's doing."""
    engine.set_faults(stall_share=1, stall_seconds=60)
    got = b""
    body = {**BODIES[CHAT], "stream": True}
    with (
        pytest.raises(httpx.ReadTimeout),
        http.stream("POST", CHAT, json=body, timeout=0.3) as reply,
    ):
        for part in reply.iter_raw():
            got += part
    assert b"[v2]" in got
    assert b'"finish_reason":"stop"' not in got
    until(lambda: outcomes(engine) == {"stall": 1}, 5.0)


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_can_end_without_a_finish(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """All the words, the end of the stream, and never why it ended."""
    engine.set_faults(no_finish_share=1)
    text = ask(http, path, stream=True).text
    assert "[v2]" in text
    for finish in ('"finish_reason":"', "response.completed", "message_delta"):
        assert finish not in text
    assert text.endswith("data: [DONE]\n\n") == (path != "/v1/responses")
    assert outcomes(engine) == {"no_finish": 1}


def test_an_answer_can_lack_its_finish(engine: EngineProcess, http: httpx.Client) -> None:
    """finish_reason is null where there is no stream."""
    engine.set_faults(no_finish_share=1)
    assert ask(http).json()["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_an_aborted_answer_says_so_and_is_short(
    engine: EngineProcess, http: httpx.Client, stream: bool
) -> None:
    """finish_reason abort, before all tokens came."""
    engine.set_faults(abort_share=1)
    reply = ask(http, stream=stream, stream_options={"include_usage": True})
    assert '"finish_reason":"abort"' in reply.text
    if not stream:
        assert reply.json()["usage"]["completion_tokens"] < 12
    assert outcomes(engine) == {"abort": 1}


def test_an_aborted_answer_in_the_other_apis(engine: EngineProcess, http: httpx.Client) -> None:
    """Responses are cancelled, messages have no word for it."""
    engine.set_faults(abort_share=1)
    assert ask(http, "/v1/responses").json()["status"] == "cancelled"
    assert ask(http, "/v1/messages").json()["stop_reason"] is None
    assert ask(http, "/v1/completions").json()["choices"][0]["finish_reason"] == "abort"


@pytest.mark.parametrize("stream", [False, True])
def test_a_hanging_engine_answers_nothing(
    engine: EngineProcess, http: httpx.Client, until: Until, stream: bool
) -> None:
    """Not even headers; it counts as waiting, and as a hang when the client gives up."""
    engine.set_faults(hang_share=1)
    gave_up = threading.Event()

    def call() -> None:
        with pytest.raises(httpx.ReadTimeout):
            http.post(CHAT, json={**BODIES[CHAT], "stream": stream}, timeout=0.3)
        gave_up.set()

    caller = threading.Thread(target=call)
    caller.start()
    until(
        lambda: (
            'vllm:num_requests_waiting{engine="0",model_name="chat-v2"} 1.0'
            in httpx.get(f"{engine.url}/metrics", trust_env=False).text
        ),
        5.0,
    )
    caller.join()
    assert gave_up.is_set()
    until(lambda: outcomes(engine) == {"hang": 1}, 5.0)


def test_a_hang_is_bounded(engine: EngineProcess, http: httpx.Client) -> None:
    """After hang_seconds the request fails."""
    engine.set_faults(hang_share=1, hang_seconds=0.05)
    assert ask(http).status_code == 500
    assert outcomes(engine) == {"hang": 1}


def test_a_full_queue_refuses_a_stream_under_http_200(
    engine: EngineProcess, http: httpx.Client, until: Until
) -> None:
    """Running requests count too, as in vLLM; those in flight go on."""
    engine.set_faults(max_queued=1, inter_token_factor=1000)
    body = {**BODIES[CHAT], "stream": True}
    with http.stream("POST", CHAT, json=body) as running:
        parts = running.iter_raw()
        assert b"[v2]" in next(parts)
        refused = ask(http, stream=True)
        assert refused.status_code == 200
        first, done = refused.text.split("\n\n")[:2]
        assert json.loads(first.removeprefix("data: "))["error"]["code"] == 503
        assert done == "data: [DONE]"
        assert ask(http).status_code == 503
    until(lambda: outcomes(engine) == {"rejected": 2, "disconnect": 1}, 5.0)
    assert "vllm:admission_rejections_total" in http.get("/metrics").text


def test_faults_begin_after_so_many_requests(engine: EngineProcess, http: httpx.Client) -> None:
    """The requests before that are answered."""
    engine.set_faults(error_share=1, start_after=2)
    assert [ask(http).status_code for _ in range(4)] == [200, 200, 500, 500]


@pytest.mark.parametrize("path", STREAMED)
def test_a_fault_may_strike_an_answer_of_one_token(
    engine: EngineProcess, http: httpx.Client, path: str
) -> None:
    """The shortest answers fail too, after their token."""
    limits = ("max_tokens", "max_output_tokens")
    short: dict[str, Any] = {"stream": True, limits[path == "/v1/responses"]: 1}
    engine.set_faults(sse_error_mid_share=1)
    text = ask(http, path, **short).text
    assert "[v2]" in text
    assert "EngineCore" in text
