"""What is told of an engine that does not answer, to a person and in the log."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import httpx
import litellm
import pytest

from coalmine.gateway.causes import in_names, in_words

pytestmark = pytest.mark.anyio

SECRET = "sk-in-the-body"


@pytest.fixture
def listening() -> Iterator[Callable[[bytes | None], int]]:
    """Listen, and answer all that is asked with these bytes; with None not at all."""
    with ExitStack() as stack:

        def listen(answer: bytes | None) -> int:
            door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            def serve() -> None:
                while True:
                    try:
                        caller, _ = door.accept()
                    except OSError:
                        return
                    with caller:
                        caller.recv(1 << 16)
                        caller.sendall(answer or b"")

            if answer is not None:
                thread = threading.Thread(target=serve)
                thread.start()
                stack.callback(thread.join, 5)
                # Closing alone does not wake who waits in accept().
                stack.callback(door.shutdown, socket.SHUT_RDWR)
            return int(door.getsockname()[1])

        yield listen


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Probe a deployment at a port, through LiteLLM's own router."""
    from litellm import Router
    from litellm.proxy import proxy_server

    from coalmine.gateway import litellm_router

    monkeypatch.setattr(litellm_router, "PROBE_TIMEOUT", 1.0)

    async def ask(port: int, provider: str = "openai", mode: str = "chat") -> str:
        deployment = {
            "model_name": "chat.green", "model_info": {"id": "g1", "mode": mode},
            "litellm_params": {"model": f"{provider}/v2", "api_key": "sk-x",
                               "api_base": f"http://127.0.0.1:{port}/v1"}}
        monkeypatch.setattr(proxy_server, "llm_router", Router(model_list=[deployment]))
        return str((await litellm_router.probe(deployment)).error)

    return ask


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@pytest.mark.parametrize("mode", ["chat", "embedding"])
@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
async def test_an_engine_that_is_not_there_is_no_500(
    probe: Any, provider: str, mode: str
) -> None:
    """LiteLLM calls it an InternalServerError with status 500."""
    assert await probe(_free_port(), provider, mode) == "the connection was refused"


async def test_an_engine_that_hangs_up_says_so(probe: Any, listening: Any) -> None:
    """It listens, and dies over the request."""
    assert await probe(listening(b"")) == "the connection was cut"


async def test_an_engine_that_does_not_answer_in_time_says_so(probe: Any, listening: Any) -> None:
    """It is cold, or hangs."""
    assert await probe(listening(None)) == "no answer in time"


async def test_what_an_engine_answers_is_told_by_its_status_alone(
    probe: Any, listening: Any
) -> None:
    """The body may hold anything."""
    body = b'{"error": {"message": "' + SECRET.encode() + b'"}}'
    for status, said in ((b"500 No", "InternalServerError (500)"),
                         (b"401 No", "AuthenticationError (401)"),
                         (b"404 No", "NotFoundError (404)")):
        answer = (b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\n"
                  b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert await probe(listening(answer)) == said


def caused(*chain: BaseException) -> BaseException:
    for above, below in pairwise(chain):
        above.__cause__ = below
    return chain[0]


@pytest.mark.parametrize(("chain", "words"), [
    ((RuntimeError(SECRET),), "RuntimeError"),
    ((RuntimeError(SECRET), httpx.ConnectError("x"), socket.gaierror(-2, SECRET)),
     "its host name is not known"),
    ((RuntimeError(), httpx.ConnectError(SECRET)), "the connection failed"),
    ((RuntimeError(), TimeoutError(SECRET)), "no answer in time"),
    ((RuntimeError(), ConnectionRefusedError(), httpx.TransportError("x")),
     "the connection was refused"),
])
async def test_the_most_telling_cause_is_told(
    chain: tuple[BaseException, ...], words: str
) -> None:
    """And never an error's text."""
    assert in_words(caused(*chain)) == words


async def test_a_chain_without_end_has_one() -> None:
    """An error may be its own context."""
    first, second = RuntimeError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert in_words(first) == "RuntimeError"
    assert in_names(first) == "RuntimeError, ValueError"


def test_a_status_is_told_with_the_exceptions_name() -> None:
    error = litellm.RateLimitError("slow down", "openai", "gpt")
    assert in_names(error) == "RateLimitError 429"
    assert in_names(asyncio.TimeoutError()) == "TimeoutError"


def test_what_litellm_wraps_is_told_too() -> None:
    """Its 500 may be an engine's own, or a connection that nobody accepted."""
    error = litellm.InternalServerError("no", "hosted_vllm", "m")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert in_names(error) == "InternalServerError 500, ConnectionRefusedError"


def test_what_failed_before_it_is_no_cause() -> None:
    """LiteLLM makes a rescue's attempt while it handles the candidate's error."""
    before = litellm.InternalServerError("no", "hosted_vllm", "m")
    before.__cause__ = ConnectionRefusedError(111, "refused")
    answered = httpx.ReadTimeout("slow")
    answered.__context__ = before
    after = litellm.Timeout("slow", "m", "hosted_vllm")
    after.__cause__ = answered
    assert in_names(after) == "Timeout 408, ReadTimeout"
    assert in_words(after) == "no answer in time"
