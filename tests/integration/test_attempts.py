"""Every attempt is counted exactly once, whatever befalls it; the engines are the witnesses."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from .client import ENDPOINTS, body_of
from .engines import Engines
from .gateway import Gateway, eventually
from .worlds import Svc, world

IMPATIENT = {"timeout": 0.4, "stream_timeout": 0.4}
SERVICES = [
    Svc("plain"),
    Svc("hosted", prefix="hosted_vllm", more={"rescue": False}),
    Svc("plain-slow", params=IMPATIENT),
    Svc("hosted-slow", prefix="hosted_vllm", params=IMPATIENT, more={"rescue": False}),
]
SHAPES = [(endpoint, stream) for endpoint in ENDPOINTS for stream in (False, True)
          if not (stream and endpoint == "embeddings")]
FRESH = itertools.count()

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "answers": ({}, "ok"),
    "says 500": ({"error_share": 1.0}, "error"),
    "does not know the model (404)": ({"unknown_model": True}, "error"),
    "is overloaded (429)": ({"overload": True}, "error"),
    "says 400": ({"bad_request_share": 1.0}, "client_error"),
    "wants a key (401)": ({"auth": True}, "error"),
    "cuts the connection in the middle": ({"cut_share": 1.0}, "error"),
    "sends an error as first event": ({"sse_error_share": 1.0}, "error"),
    "sends an error in the middle": ({"sse_error_mid_share": 1.0}, "error"),
    "gives up in the middle (abort)": ({"abort_share": 1.0}, "incomplete"),
    "ends without a finish reason": ({"no_finish_share": 1.0}, "incomplete"),
}


def name_of(shape: tuple[str, bool]) -> str:
    """A request's shape in words."""
    return f"{shape[0]} streamed" if shape[1] else shape[0]


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Callable[..., list[Gateway]]) -> Gateway:
    (found,) = start(world("attempts", SERVICES, engines))
    for service in ("hosted", "hosted-slow"):
        found.command(service, "start", release="v2")
    return found


@pytest.mark.parametrize("service", ["plain", "hosted"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_an_attempt_is_counted_once_when_the_engine(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], fault: str, service: str
) -> None:
    endpoint, stream = shape
    slot = "blue" if service == "plain" else "green"
    faults, outcome = FAULTS[fault]
    counted, asked = gateway.attempts(service), engines.asked(service)
    with engines.faults(slot, **faults):
        answer = gateway.client().ask(endpoint, service, f"hello {next(FRESH)}", stream=stream)
    asked = engines.asked(service) - asked
    try:
        eventually(lambda: (gateway.attempts(service) - counted).total() >= asked.total(), 4)
    finally:
        print(answer)
        print("asked", asked, "counted", gateway.attempts(service) - counted)
    assert gateway.attempts(service) - counted == Counter({(f"{service}-{slot}-1", outcome): asked.total()})
