"""The pace of an answer, on a clock of the test's own: nobody really waits."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from coalmine.sim import Faults
from coalmine.sim.engine import create_engine

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


async def slept(faults: Faults, **more: Any) -> tuple[list[float], str]:
    """What the engine slept for one chat, and its metrics afterwards."""
    clock = Clock()
    app = create_engine(
        "blue", "v1", seed=1, ttft=0.2, inter_token=0.05, tokens=4, faults=faults,
        clock=clock, sleep=clock.sleep, wall=lambda: 1_000_000.0,
    )  # fmt: skip
    body = {"messages": [{"role": "user", "content": "Hi"}], **more}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        reply = await client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200
        assert '"created":1000000' in reply.text
        return clock.slept, (await client.get("/metrics")).text


async def test_a_stream_waits_for_its_first_token_and_between_tokens() -> None:
    """Once the time to first token, then a gap for each further token."""
    waits, metrics = await slept(Faults(), stream=True)
    assert waits == pytest.approx([0.2, 0.05, 0.05, 0.05])
    assert "vllm:time_to_first_token_seconds_sum{" in metrics
    e2e = 'vllm:e2e_request_latency_seconds_sum{engine="0",model_name="v1"} '
    assert float(metrics.split(e2e)[1].split()[0]) == pytest.approx(0.35)


async def test_a_whole_answer_takes_as_long_as_its_stream() -> None:
    """It is the same work."""
    waits, _ = await slept(Faults())
    assert sum(waits) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(latency_factor=2), [0.4, 0.1, 0.1, 0.1]),
        (Faults(ttft_factor=3), [0.6, 0.05, 0.05, 0.05]),
        (Faults(inter_token_factor=4), [0.2, 0.2, 0.2, 0.2]),
        (Faults(latency_factor=2, ttft_factor=3), [1.2, 0.1, 0.1, 0.1]),
        (Faults(latency_factor=0), []),
    ],
    ids=lambda value: "",
)
async def test_factors_stretch_the_waits(faults: Faults, expected: list[float]) -> None:
    """latency_factor stretches both, the others their own."""
    waits, _ = await slept(faults, stream=True)
    assert waits == pytest.approx(expected)


async def test_a_stall_is_a_wait_among_the_tokens() -> None:
    """It comes after the first token and before the finish."""
    waits, _ = await slept(Faults(stall_share=1, stall_seconds=30), stream=True)
    assert sorted(waits)[-1] == 30
    assert waits[0] == pytest.approx(0.2)
    assert waits.index(30) >= 1


@pytest.mark.parametrize("given", [{"tokens": 0}, {"ttft": -1}, {"inter_token": -0.1}])
def test_impossible_figures_are_refused(given: dict[str, Any]) -> None:
    """An engine without tokens or with negative waits is none."""
    with pytest.raises(ValueError, match="give at least one token"):
        create_engine("blue", "v1", seed=1, **given)


def test_an_engine_serves_its_release_when_no_name_is_given() -> None:
    """The release is then the model's name."""
    assert create_engine("blue", "v1", seed=1).state.engine.served_names == ("v1",)
