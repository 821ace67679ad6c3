"""`/v1/messages`, the Anthropic API that vLLM serves too."""

from __future__ import annotations

import json
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
from coalmine.sim.refusal import Refused
from coalmine.sim.transport import DONE, sse

# An abort has no word in this API: vLLM gives null.
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessagesWire:
    """Messages: named events; after `message_stop` vLLM adds a [DONE] that clients skip."""

    path = "/v1/messages"
    id_prefix = "chatcmpl-"

    def parse(self, body: dict[str, Any]) -> Ask:
        turns = read_turns(body, "messages")
        last_user = last_user_text(turns)
        return Ask(
            model=read_model(body),
            prompt=prompt_of(turns, body.get("system"), body.get("tools")),
            last_user=last_user,
            stream=bool(body.get("stream")),
            max_tokens=read_limit(body, "max_tokens"),
            tool=tool_to_call(body, last_user),
        )

    def whole(self, answer: Answer) -> dict[str, Any]:
        block = _block(answer)
        if answer.tool is None:
            block["text"] = answer.text
        elif answer.finish != "abort":
            block["input"] = json.loads(answer.text)
        return _message(answer, [block], _STOP.get(answer.finish or ""), answer.tokens)

    def opening(self, answer: Answer) -> bytes:
        begun = _message(answer, [], None, 0)
        events = _event("message_start", message=begun)
        return events + _event("content_block_start", index=0, content_block=_block(answer))

    def piece(self, answer: Answer, index: int) -> bytes:
        text = answer.pieces[index]
        if answer.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        else:
            delta = {"type": "text_delta", "text": text}
        return _event("content_block_delta", index=0, delta=delta)

    def closing(self, answer: Answer) -> bytes:
        events = _event("content_block_stop", index=0)
        if answer.finish is not None:
            delta = {"stop_reason": _STOP.get(answer.finish), "stop_sequence": None}
            counts = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.tokens}
            events += _event("message_delta", delta=delta, usage=counts)
        return events + _event("message_stop") + DONE

    def failure(self, refused: Refused) -> bytes:
        return sse(refused.anthropic(), "error") + DONE

    def refusal(self, refused: Refused) -> dict[str, Any]:
        return refused.anthropic()


def _event(kind: str, **payload: Any) -> bytes:
    return sse({"type": kind, **payload}, kind)


def _block(answer: Answer) -> dict[str, Any]:
    if answer.tool is not None:
        return {"type": "tool_use", "id": answer.tool.id, "name": answer.tool.name, "input": {}}
    return {"type": "text", "text": ""}


def _message(
    answer: Answer, content: list[dict[str, Any]], stop: str | None, tokens: int
) -> dict[str, Any]:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": answer.model,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": tokens},
    }
