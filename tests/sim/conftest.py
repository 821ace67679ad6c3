"""Real engine processes, one for the whole run, and the clients that talk to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx
import openai
import pytest

from coalmine.sim import EngineProcess


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the engines do."""
    return "asyncio"


@pytest.fixture(scope="session")
def _engine() -> Iterator[EngineProcess]:
    names = ["chat-v2", "chat"]
    with EngineProcess("green", "v2", served_names=names, ttft=0.01, inter_token=0.001) as engine:
        yield engine


@pytest.fixture
def engine(_engine: EngineProcess) -> EngineProcess:
    """A healthy engine that has seen nothing, serving release v2 as `chat-v2` and `chat`."""
    _engine.reset()
    return _engine


@pytest.fixture(scope="session")
def _http(_engine: EngineProcess) -> Iterator[httpx.Client]:
    # Reading certificates would take longer than most tests, and there is no TLS here.
    with httpx.Client(base_url=_engine.url, trust_env=False, verify=False, timeout=10) as client:
        yield client


@pytest.fixture
def http(engine: EngineProcess, _http: httpx.Client) -> httpx.Client:
    """A plain client of the engine, no proxy in between."""
    return _http


@pytest.fixture
async def openai_client(engine: EngineProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK, that tries once."""
    async with openai.AsyncOpenAI(
        base_url=f"{engine.url}/v1", api_key="none", max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture
async def anthropic_client(engine: EngineProcess) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The Anthropic SDK, that tries once."""
    async with anthropic.AsyncAnthropic(
        base_url=engine.url, api_key="none", max_retries=0, timeout=10
    ) as client:
        yield client
