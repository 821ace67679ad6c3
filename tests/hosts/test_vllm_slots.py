"""What speaks against a host's slots."""

from __future__ import annotations

from typing import Any

import pytest

from .plugins import load

vllm_slots = load("roles/vllm/filter_plugins/vllm_slots.py")


def slot(name: str, **fields: Any) -> dict[str, Any]:
    """A slot of the service chat; each has its own port."""
    service, _, place = name.rpartition("-")
    return {"service": service, "slot": place, "environment": "0.32.0",
            "port": 8001 + (place == "green"), **fields}


@pytest.mark.parametrize(("slots", "said"), [
    ([slot("chat-blue"), slot("chat-blue", port=9)], "vllm_slots names chat-blue 2 times"),
    ([slot("chat-blue"), slot("chat-green", port=8001)],
     "chat-blue and chat-green have one port, 8001: give each its own"),
    ([slot("chat-blue", environment="0.33.0")],
     "chat-blue wants environment 0.33.0, and vllm_environments knows 0.32.0"),
    ([slot("chat-blue", gpu_memory=0.5), slot("chat-green", gpu_memory=0.5)],
     "chat-blue and chat-green take 100% of the memory of device 0 together: give them 95% at "
     "most (gpu_memory), or devices of their own (devices)"),
    ([slot("chat-blue", gpu_memory=0.6, devices=["1"]), slot("chat-green", gpu_memory=0.5)],
     "chat-blue and chat-green take 110% of the memory of device 1 together"),
])
def test_what_does_not_fit_is_told_in_a_sentence(slots: list[dict[str, Any]], said: str) -> None:
    """And is the only complaint."""
    (found,) = vllm_slots.misfits(slots, {"0.32.0": {}})
    assert found.startswith(said)


@pytest.mark.parametrize("slots", [
    [slot("chat-blue", gpu_memory=0.45), slot("chat-green", gpu_memory=0.5)],
    [slot("chat-blue", gpu_memory=0.9, devices=["0"]),
     slot("chat-green", gpu_memory=0.9, devices=["1"])],
    [slot("chat-blue"), slot("chat-green")],
    [],
])
def test_what_fits_is_not_complained_of(slots: list[dict[str, Any]]) -> None:
    """Shares that leave room, devices of their own, or vLLM's own reckoning."""
    assert vllm_slots.misfits(slots, {"0.32.0": {}}) == []


@pytest.mark.parametrize(("named", "retired", "run"), [
    (None, [], ["chat-blue", "chat-green"]),
    (None, ["chat-green"], ["chat-blue"]),
    (["chat-green"], ["chat-green"], ["chat-green"]),
    ([], [], []),
])
def test_what_was_retired_runs_again_only_when_it_is_named(
        named: list[str] | None, retired: list[str], run: list[str]) -> None:
    """And then no other does."""
    slots = [slot("chat-blue"), slot("chat-green")]
    assert list(map(vllm_slots.name_of, vllm_slots.wanted(slots, named, retired))) == run


def test_slots_start_in_their_order() -> None:
    """Each after all that stand before it."""
    slots = [slot("chat-blue"), slot("chat-green"), slot("code-blue", port=9)]
    assert [vllm_slots.before(slots, one) for one in slots] == [
        [], ["chat-blue"], ["chat-blue", "chat-green"]]
