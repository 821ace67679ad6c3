"""LiteLLM's own end comes, whatever becomes of ours."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], list[str]]:
    """Let LiteLLM end with our `stop` before it; returns what it did."""
    from litellm.proxy import proxy_server

    from coalmine.gateway import litellm_router

    did: list[str] = []

    async def known(word: str) -> None:
        did.append(word)

    def ending(stop: Callable[[], None]) -> list[str]:
        monkeypatch.setattr(proxy_server, "proxy_shutdown_event", known)
        monkeypatch.setattr(litellm_router, "STOP", 0.2)
        assert litellm_router.at_shutdown(stop)
        asyncio.run(proxy_server.proxy_shutdown_event("ended"))
        return did

    return ending


def test_ours_comes_first(end: Callable[[Callable[[], None]], list[str]]) -> None:
    """The state is told while LiteLLM still has its loop."""
    stopped: list[str] = []
    assert end(lambda: stopped.append("ours")) == ["ended"]
    assert stopped == ["ours"]


def test_a_fault_of_ours_is_said_and_no_more(
    end: Callable[[Callable[[], None]], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    def stop() -> None:
        raise RuntimeError("out of order")

    assert end(stop) == ["ended"]
    assert "out of order" in caplog.text


def test_one_that_hangs_is_not_waited_for(
    end: Callable[[Callable[[], None]], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by the loop's own end, which waits for threads of its own."""
    go = threading.Event()
    began = time.monotonic()
    assert end(lambda: void(go.wait(3))) == ["ended"]
    took = time.monotonic() - began
    go.set()
    assert took < 2
    assert "stopped without telling" in caplog.text


def void(_: object) -> None:
    """Nothing comes of it."""
