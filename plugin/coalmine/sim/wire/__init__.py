"""The wire formats of the APIs that vLLM serves."""

from __future__ import annotations

from coalmine.sim.wire.chat import ChatWire
from coalmine.sim.wire.completions import CompletionsWire
from coalmine.sim.wire.embeddings import EmbeddingsWire
from coalmine.sim.wire.messages import MessagesWire
from coalmine.sim.wire.protocol import Wire
from coalmine.sim.wire.responses import ResponsesWire


def all_wires(seed: int, release: str) -> tuple[Wire, ...]:
    """One of each."""
    return (
        ChatWire(),
        CompletionsWire(),
        ResponsesWire(),
        MessagesWire(),
        EmbeddingsWire(seed, release),
    )


__all__ = ["Wire", "all_wires"]
