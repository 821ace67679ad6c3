"""The OpenAI APIs, through the real SDK."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

pytestmark = pytest.mark.anyio

ASKED: Any = [{"role": "user", "content": "Tell me of birds"}]
FUNCTION: Any = {"name": "look_up", "strict": True, "parameters": {"type": "object"}}
TOOL: Any = {"type": "function", "function": FUNCTION}
CALL: Any = [{"role": "user", "content": "Please call tool now"}]


async def test_a_chat_answer_tells_its_release(openai_client: AsyncOpenAI) -> None:
    """The text begins with the release, and the model is the first served name."""
    answer = await openai_client.chat.completions.create(model="chat", messages=ASKED)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "chat-v2"
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert choice.message.content.startswith("[v2] ")
    assert len(choice.message.content.split()) == 12
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


async def test_a_chat_stream_says_the_same_as_the_whole(openai_client: AsyncOpenAI) -> None:
    """Role, content, finish, usage: joined they are the unstreamed answer."""
    whole = await openai_client.chat.completions.create(model="chat", messages=ASKED)
    stream = await openai_client.chat.completions.create(
        model="chat", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert {(chunk.id, chunk.model) for chunk in chunks} == {(chunks[0].id, "chat-v2")}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) == 1 + 12 + 1 + 1
    *spoken, finish, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in spoken)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in spoken] == [None] * 13
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert whole.usage is not None
    assert usage.usage.completion_tokens == whole.usage.completion_tokens


async def test_usage_comes_only_when_asked_for(openai_client: AsyncOpenAI) -> None:
    """Without include_usage no chunk bears it."""
    stream = await openai_client.chat.completions.create(model="chat", messages=ASKED, stream=True)
    assert [chunk.usage async for chunk in stream if chunk.usage] == []


async def test_a_chat_stream_ends_with_done_on_the_wire(http: httpx.Client) -> None:
    """The SDK hides it, so the bytes are looked at."""
    body = {"messages": ASKED, "stream": True}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith('"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_small_token_limit_ends_with_length(openai_client: AsyncOpenAI, limit: str) -> None:
    """A probe of one token still tells the release."""
    given: Any = {limit: 1}
    answer = await openai_client.chat.completions.create(model="chat", messages=ASKED, **given)
    assert answer.choices[0].message.content == "[v2]"
    assert answer.choices[0].finish_reason == "length"


async def test_a_token_limit_that_fits_ends_with_stop(openai_client: AsyncOpenAI) -> None:
    """The limit must be smaller than the answer to be met."""
    answer = await openai_client.chat.completions.create(
        model="chat", messages=ASKED, max_tokens=12
    )
    assert answer.choices[0].finish_reason == "stop"


async def test_a_chat_calls_a_tool_when_told_to(openai_client: AsyncOpenAI) -> None:
    """The call names the tool and its arguments tell the release."""
    answer = await openai_client.chat.completions.create(model="chat", messages=CALL, tools=[TOOL])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["release"] == "v2"


async def test_a_chat_stream_calls_a_tool_piece_by_piece(openai_client: AsyncOpenAI) -> None:
    """The SDK's own accumulator puts the call together."""
    async with openai_client.chat.completions.stream(
        model="chat", messages=CALL, tools=[TOOL]
    ) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.id.startswith("chatcmpl-tool-")
    assert json.loads(call.function.arguments)["release"] == "v2"


async def test_tools_alone_are_no_reason_to_call_one(openai_client: AsyncOpenAI) -> None:
    """Only the words of the last user message are."""
    answer = await openai_client.chat.completions.create(model="chat", messages=ASKED, tools=[TOOL])
    assert answer.choices[0].finish_reason == "stop"


async def test_a_text_completion_at_once_and_streamed(openai_client: AsyncOpenAI) -> None:
    """Both say the same words and end with stop."""
    whole = await openai_client.completions.create(model="chat", prompt="Once")
    stream = await openai_client.completions.create(
        model="chat", prompt="Once", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert whole.id.startswith("cmpl-")
    assert whole.choices[0].text.startswith("[v2] ")
    assert "".join(c.choices[0].text for c in chunks[:-1]) == whole.choices[0].text
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage


async def test_a_response_at_once(openai_client: AsyncOpenAI) -> None:
    """Id, text, status and usage are where the SDK looks for them."""
    answer = await openai_client.responses.create(model="chat", input="Tell me of birds")
    assert answer.id.startswith("resp_")
    assert answer.status == "completed"
    assert answer.model == "chat-v2"
    assert answer.output_text.startswith("[v2] ")
    assert answer.usage is not None
    assert answer.usage.output_tokens == 12


async def test_a_response_stream_numbers_its_events(openai_client: AsyncOpenAI) -> None:
    """From created to completed, without a gap in the numbers."""
    asked = "Tell me of birds"
    whole = await openai_client.responses.create(model="chat", input=asked)
    stream = await openai_client.responses.create(model="chat", input=asked, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[4:-4] == ["response.output_text.delta"] * 12
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == whole.output_text


async def test_the_sdk_accumulates_a_streamed_response(openai_client: AsyncOpenAI) -> None:
    """Its strict state machine accepts the order of the events."""
    async with openai_client.responses.stream(model="chat", input="Hi") as stream:
        answer = await stream.get_final_response()
    assert answer.output_text.startswith("[v2] ")


async def test_a_response_calls_a_tool(openai_client: AsyncOpenAI) -> None:
    """At once and streamed, as a function_call item."""
    tool: Any = {"type": "function", "name": "look_up", "parameters": {}, "strict": False}
    asked = "call tool"
    whole = await openai_client.responses.create(model="chat", input=asked, tools=[tool])
    stream = await openai_client.responses.create(
        model="chat", input=asked, tools=[tool], stream=True
    )
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    for answer in (whole, last.response):
        (item,) = answer.output
        assert item.type == "function_call"
        assert item.name == "look_up"
        assert json.loads(item.arguments)["release"] == "v2"


async def test_a_short_response_is_incomplete(openai_client: AsyncOpenAI) -> None:
    """The limit is named as the reason."""
    answer = await openai_client.responses.create(model="chat", input="Hi", max_output_tokens=3)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_a_stored_conversation_goes_on_only_where_it_began(
    openai_client: AsyncOpenAI,
) -> None:
    """With store, another engine's response id is unknown here; without it nobody looks."""
    first = await openai_client.responses.create(model="chat", input="Hi", store=True)
    second = await openai_client.responses.create(
        model="chat", input="On", store=True, previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_elsewhere' not found"):
        await openai_client.responses.create(
            model="chat", input="On", store=True, previous_response_id="resp_elsewhere"
        )
    await openai_client.responses.create(
        model="chat", input="On", store=False, previous_response_id="resp_elsewhere"
    )


async def test_embeddings_are_vectors_of_this_release(openai_client: AsyncOpenAI) -> None:
    """One per input, the same for the same text, in either encoding."""
    packed = await openai_client.embeddings.create(model="chat", input=["a", "b", "a"])
    plain = await openai_client.embeddings.create(
        model="chat", input="a", encoding_format="float", dimensions=16
    )
    first, second, third = (item.embedding for item in packed.data)
    assert first == third != second
    assert plain.data[0].embedding == pytest.approx(first)
    assert [item.index for item in packed.data] == [0, 1, 2]
    wide = await openai_client.embeddings.create(model="chat", input="a", dimensions=100)
    assert len(wide.data[0].embedding) == 100
    assert packed.usage.total_tokens > 0


async def test_models_list_every_served_name(openai_client: AsyncOpenAI) -> None:
    """And the weights' path tells the release."""
    models = [model async for model in openai_client.models.list()]
    assert [model.id for model in models] == ["chat-v2", "chat"]
    assert {model.to_dict()["root"] for model in models} == {"/models/v2"}


async def test_a_name_that_is_not_served_is_not_found(openai_client: AsyncOpenAI) -> None:
    """In the words of vLLM."""
    with pytest.raises(openai.NotFoundError) as refused:
        await openai_client.chat.completions.create(model="chat-v1", messages=ASKED)
    assert refused.value.body == {
        "message": "The model `chat-v1` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
