"""The Anthropic API, through the real SDK."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import pytest
from anthropic import AsyncAnthropic

pytestmark = pytest.mark.anyio

ASKED: Any = [{"role": "user", "content": [{"type": "text", "text": "Tell me of birds"}]}]
CALL: Any = [{"role": "user", "content": "call tool"}]
TOOL: Any = {"name": "look_up", "input_schema": {"type": "object"}}


async def test_a_message_at_once(anthropic_client: AsyncAnthropic) -> None:
    """Text, stop reason and usage are where the SDK looks for them."""
    message = await anthropic_client.messages.create(model="chat", max_tokens=50, messages=ASKED)
    (block,) = message.content
    assert block.type == "text"
    assert block.text.startswith("[v2] ")
    assert message.model == "chat-v2"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 12


async def test_a_streamed_message_says_the_same(anthropic_client: AsyncAnthropic) -> None:
    """The SDK's accumulator builds the unstreamed message from the events."""
    whole = await anthropic_client.messages.create(model="chat", max_tokens=50, messages=ASKED)
    async with anthropic_client.messages.stream(
        model="chat", max_tokens=50, messages=ASKED
    ) as stream:
        message = await stream.get_final_message()
    assert message.content[0].to_dict()["text"] == whole.content[0].to_dict()["text"]
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 12


async def test_the_events_come_in_their_order(anthropic_client: AsyncAnthropic) -> None:
    """Start, block, deltas, stops."""
    stream = await anthropic_client.messages.create(
        model="chat", max_tokens=50, messages=ASKED, stream=True
    )
    kinds = [event.type async for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 12,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_a_message_stream_ends_with_vllms_done(http: httpx.Client) -> None:
    """vLLM adds one, which clients of this API skip."""
    reply = http.post("/v1/messages", json={"messages": ASKED, "stream": True, "max_tokens": 9})
    assert reply.text.endswith('{"type":"message_stop"}\n\ndata: [DONE]\n\n')


async def test_a_short_message_stops_for_max_tokens(anthropic_client: AsyncAnthropic) -> None:
    """The limit is named as the reason."""
    message = await anthropic_client.messages.create(model="chat", max_tokens=2, messages=ASKED)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 2


async def test_a_message_uses_a_tool_at_once_and_streamed(
    anthropic_client: AsyncAnthropic,
) -> None:
    """The input tells the release."""
    whole = await anthropic_client.messages.create(
        model="chat", max_tokens=50, messages=CALL, tools=[TOOL]
    )
    async with anthropic_client.messages.stream(
        model="chat", max_tokens=50, messages=CALL, tools=[TOOL]
    ) as stream:
        streamed = await stream.get_final_message()
    for message in (whole, streamed):
        (block,) = message.content
        assert block.type == "tool_use"
        assert block.name == "look_up"
        assert isinstance(block.input, dict)
        assert block.input["release"] == "v2"
        assert message.stop_reason == "tool_use"


async def test_an_error_has_the_shape_of_this_api(anthropic_client: AsyncAnthropic) -> None:
    """Type error, with the error inside."""
    with pytest.raises(anthropic.NotFoundError) as refused:
        await anthropic_client.messages.create(model="other", max_tokens=5, messages=ASKED)
    message = "The model `other` does not exist."
    inner = {"type": "NotFoundError", "message": message}
    assert refused.value.body == {"type": "error", "error": inner}
