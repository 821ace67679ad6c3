"""`/v1/responses`."""

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
from coalmine.sim.refusal import malformed
from coalmine.sim.transport import sse
from coalmine.sim.wire.openai import OpenAIErrors

_STATUS = {"length": "incomplete", "abort": "cancelled", None: "in_progress"}


class ResponsesWire(OpenAIErrors):
    """Responses: named, numbered events up to `response.completed`; no [DONE], like vLLM."""

    path = "/v1/responses"
    id_prefix = "resp_"

    def parse(self, body: dict[str, Any]) -> Ask:
        given = body.get("input")
        if isinstance(given, str) and given:
            last_user = given
        else:
            last_user = last_user_text(read_turns(body, "input"))
        previous = body.get("previous_response_id")
        if previous is not None and not isinstance(previous, str):
            raise malformed("Input should be a valid string", "previous_response_id")
        return Ask(
            model=read_model(body),
            prompt=prompt_of(given, body.get("instructions"), body.get("tools")),
            last_user=last_user,
            stream=bool(body.get("stream")),
            max_tokens=read_limit(body, "max_output_tokens"),
            tool=tool_to_call(body, last_user),
            store=body.get("store") is True,
            previous_response_id=previous,
        )

    def whole(self, answer: Answer) -> dict[str, Any]:
        status = _STATUS.get(answer.finish, "completed")
        return _response(answer, status, [_item(answer, "completed", answer.text)])

    def opening(self, answer: Answer) -> bytes:
        begun = _response(answer, "in_progress", None)
        events = _event(0, "response.created", response=begun)
        events += _event(1, "response.in_progress", response=begun)
        item = _item(answer, "in_progress", None)
        events += _event(2, "response.output_item.added", output_index=0, item=item)
        if answer.tool is None:
            place = _place(answer)
            events += _event(3, "response.content_part.added", **place, part=_part(""))
        return events

    def piece(self, answer: Answer, index: int) -> bytes:
        number, delta = _opened(answer) + index, answer.pieces[index]
        if answer.tool is not None:
            kind = "response.function_call_arguments.delta"
            return _event(number, kind, item_id=_item_id(answer), output_index=0, delta=delta)
        kind = "response.output_text.delta"
        return _event(number, kind, **_place(answer), delta=delta, logprobs=[])

    def closing(self, answer: Answer) -> bytes:
        number = _opened(answer) + answer.tokens
        item = _item(answer, "completed", answer.text)
        if answer.tool is not None:
            kind = "response.function_call_arguments.done"
            place = {"item_id": _item_id(answer), "output_index": 0}
            named = {"name": answer.tool.name, "arguments": answer.text}
            events = _event(number, kind, **place, **named)
        else:
            place = _place(answer)
            done = {"text": answer.text, "logprobs": []}
            events = _event(number, "response.output_text.done", **place, **done)
            number += 1
            part = _part(answer.text)
            events += _event(number, "response.content_part.done", **place, part=part)
        events += _event(number + 1, "response.output_item.done", output_index=0, item=item)
        if answer.finish is None:
            return events
        # vLLM says "completed" whatever the status inside is.
        return events + _event(number + 2, "response.completed", response=self.whole(answer))


def _opened(answer: Answer) -> int:
    return 4 if answer.tool is None else 3


def _event(number: int, kind: str, **payload: Any) -> bytes:
    return sse({**payload, "sequence_number": number, "type": kind}, kind)


def _item_id(answer: Answer) -> str:
    return ("msg_" if answer.tool is None else "fc_") + answer.id.removeprefix("resp_")


def _place(answer: Answer) -> dict[str, Any]:
    return {"item_id": _item_id(answer), "output_index": 0, "content_index": 0}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(answer: Answer, status: str, text: str | None) -> dict[str, Any]:
    """The one output item; `text` None before anything was said."""
    common = {"id": _item_id(answer), "status": status}
    if answer.tool is not None:
        call = {"call_id": answer.tool.id, "name": answer.tool.name, "arguments": text or ""}
        return {**common, "type": "function_call", **call}
    content = [] if text is None else [_part(text)]
    return {**common, "type": "message", "role": "assistant", "content": content}


def _response(answer: Answer, status: str, items: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The response object; `items` None while it has just begun."""
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }
    return {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "model": answer.model,
        "output": items or [],
        "usage": usage if items else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": answer.ask.previous_response_id,
        "store": answer.ask.store,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }
