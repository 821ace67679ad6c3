"""Gauges: how things stand now."""

from collections.abc import Callable
from typing import Any

from coalmine.control.controller import published_name
from coalmine.gateway.gauges import gauges
from coalmine.rollout import Service, Start
from coalmine.routing import Phase
from coalmine.state import Beat, State

Make = Callable[..., Any]


def test_they_say_how_a_rollout_stands(change: Make, state: State) -> None:
    """Weight, epoch, one phase of all, and the evidence where there is any."""
    service = change(Start)
    state.publish(published_name("chat"), {"verdict": {"guardrails": [
        {"name": "errors", "evidence": 3.5}, {"name": "slow", "evidence": None}]}})
    found = gauges({"chat": service}, [Beat("w1", "g1"), Beat("w2", "g1")], state, "missing")
    label = (("service", "chat"),)
    assert found["coalmine_weight_percent"][label] == 50
    assert found["coalmine_epoch"][label] == service.epoch
    phases = {labels[1][1]: value for labels, value in found["coalmine_phase"].items()}
    assert phases == {phase.value: float(phase is Phase.CANARY) for phase in Phase}
    assert found["coalmine_guardrail_evidence"] == {(*label, ("guardrail", "errors")): 3.5}
    assert found["coalmine_workers"][()] == 2
    assert {labels[0][1]: value for labels, value in found["coalmine_controller"].items()} == {
        "ok": 0, "missing": 1, "unknown": 0}


def test_what_is_in_flight_is_the_sum_of_the_workers(change: Make, state: State) -> None:
    """By service and release, also where their names hold slashes."""
    service: Service = change()
    services = dict.fromkeys(("chat", "org/chat", "org/chat/eu"), service)
    found = gauges(services, [
        Beat("w1", "g1", in_flight={"chat/v1": 2, "org/chat/v1": 1, "org/chat/eu/team/v2": 4}),
        Beat("w2", "g1", in_flight={"chat/v1": 3, "gone/v1": 1}),
    ], state, "ok")["coalmine_in_flight"]
    assert {(a[1], b[1]): count for (a, b), count in found.items()} == {
        ("chat", "v1"): 5, ("org/chat", "v1"): 1, ("org/chat/eu", "team/v2"): 4, ("gone", "v1"): 1}
