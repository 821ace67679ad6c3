"""`/v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from coalmine.sim.answer import Answer
from coalmine.sim.ask import (
    Ask,
    last_user_text,
    prompt_of,
    read_limit,
    read_model,
    read_turns,
    tool_to_call,
)
from coalmine.sim.transport import DONE, sse
from coalmine.sim.wire.openai import OpenAIErrors, usage, wants_usage

AT_LIMIT = "length"
"""The finish reason that vLLM sends with the last content instead of after it."""


class ChatWire(OpenAIErrors):
    """Chat completions: a role chunk, content chunks, a finish chunk, usage when asked for."""

    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"

    def parse(self, body: dict[str, Any]) -> Ask:
        turns = read_turns(body, "messages")
        last_user = last_user_text(turns)
        return Ask(
            model=read_model(body),
            prompt=prompt_of(turns, body.get("tools")),
            last_user=last_user,
            stream=bool(body.get("stream")),
            max_tokens=read_limit(body, "max_completion_tokens", "max_tokens"),
            include_usage=wants_usage(body),
            tool=tool_to_call(body, last_user),
        )

    def whole(self, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "tool_calls": []}
        if answer.tool is not None:
            function = {"name": answer.tool.name, "arguments": answer.text}
            call = {"id": answer.tool.id, "type": "function", "function": function}
            message.update(content=None, tool_calls=[call])
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        return {
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [choice],
            "usage": usage(answer),
        }

    def opening(self, answer: Answer) -> bytes:
        events = _chunk(answer, {"role": "assistant", "content": ""})
        if answer.tool is not None:
            function = {"name": answer.tool.name, "arguments": ""}
            call = {"index": 0, "id": answer.tool.id, "type": "function", "function": function}
            events += _chunk(answer, {"tool_calls": [call]})
        return events

    def piece(self, answer: Answer, index: int) -> bytes:
        if answer.tool is not None:
            call = {"index": 0, "function": {"arguments": answer.pieces[index]}}
            return _chunk(answer, {"tool_calls": [call]})
        last = index == len(answer.pieces) - 1 and answer.finish == AT_LIMIT
        return _chunk(answer, {"content": answer.pieces[index]}, AT_LIMIT if last else None)

    def closing(self, answer: Answer) -> bytes:
        if answer.finish is None:
            return DONE
        told = answer.finish == AT_LIMIT and answer.tool is None
        events = b"" if told else _chunk(answer, {}, answer.finish)
        if answer.ask.include_usage:
            events += sse({**_frame(answer), "choices": [], "usage": usage(answer)})
        return events + DONE


def _frame(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
    }


def _chunk(answer: Answer, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return sse({**_frame(answer), "choices": [choice]})
