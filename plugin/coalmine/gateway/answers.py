"""Reading answers: what a chunk or a whole answer says, whatever the endpoint.

One small record comes out of every shape that LiteLLM hands to the hooks: chat and completion
objects, the responses API's events, and Anthropic's SSE bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ABORTED = frozenset({"abort", "aborted", "error", "cancelled"})
"""Finish reasons with which vLLM ends an answer that it did not finish; the responses API says
``cancelled``."""

MOST_TOKENS = 2**40
"""No answer has as many; an engine that says so is not believed."""

KEPT = 4096
"""Characters of an answer that are kept to recognise it later (see routing.history.TEXT_CAP)."""


@dataclass(slots=True)
class Seen:
    """What a part of an answer says.

    Attributes:
        content: whether it carries something that the model produced.
        text: its text.
        calls: ids of tool calls that begin in it.
        finish: the finish reason, None before the end.
        failed: it is an error in the shape of an answer.
        tokens: completion tokens, None when not said.
        response_id: id of a response (responses API).
    """

    content: bool = False
    text: str = ""
    calls: tuple[str, ...] = ()
    finish: str | None = None
    failed: bool = False
    tokens: int | None = None
    response_id: str | None = None


_NO_FIELDS: dict[str, Any] = {}


def fields(thing: Any) -> dict[str, Any]:
    """Return the fields of a dict or of an object, empty without any. Not to be changed.

    LiteLLM's objects are pydantic models, whose ``getattr`` of a missing field costs microseconds
    (it builds an error); their dictionaries answer at once. This runs for every chunk.
    """
    if isinstance(thing, dict):
        return thing
    known: dict[str, Any] = getattr(thing, "__dict__", _NO_FIELDS)
    extra = getattr(thing, "__pydantic_extra__", None)
    return {**known, **extra} if extra else known


def get(thing: Any, name: str) -> Any:
    """Return a field of a dict or of an object, None without it."""
    return fields(thing).get(name)


def tokens_of(usage: Any) -> int | None:
    """Return the completion tokens that a usage record names."""
    if usage is None:
        return None
    known = fields(usage)
    for name in ("completion_tokens", "output_tokens"):
        value = known.get(name)
        if isinstance(value, int) and 0 < value < MOST_TOKENS:
            return value
    return None


def plain_text(chunk: Any) -> str | None:
    """Return the text of a chat chunk that holds one piece of text and nothing else, else None.

    Nearly all chunks are of that kind; this is the short way for them.
    """
    whole = getattr(chunk, "__dict__", _NO_FIELDS)
    choices = whole.get("choices")
    if not choices or len(choices) != 1 or getattr(chunk, "__pydantic_extra__", None):
        return None
    # LiteLLM's choices and deltas keep all they hold as pydantic's "extra" fields.
    about = getattr(choices[0], "__pydantic_extra__", None) or _NO_FIELDS
    delta = getattr(about.get("delta"), "__pydantic_extra__", None) or _NO_FIELDS
    if about.get("finish_reason") is not None or delta.get("tool_calls"):
        return None
    text = delta.get("content")
    return text if text and text.__class__ is str else None


def read_choices(answer: Any) -> Seen:
    """Read a chat or completions answer, whole or a chunk of it."""
    whole = fields(answer)
    seen = Seen(tokens=tokens_of(whole.get("usage")), failed=bool(whole.get("error")))
    for choice in whole.get("choices") or ():
        about = fields(choice)
        seen.finish = about.get("finish_reason") or seen.finish
        part = about.get("delta") or about.get("message")
        said = fields(part) if part is not None else {"content": about.get("text")}
        text, calls = said.get("content"), said.get("tool_calls")
        if text and isinstance(text, str):
            seen.content, seen.text = True, seen.text + text
        if calls:
            seen.content = True
            seen.calls += tuple(str(get(c, "id")) for c in calls if get(c, "id"))
        if said.get("reasoning_content"):
            seen.content = True
    return seen


_RESPONSE_CONTENT = frozenset({
    "response.output_text.delta", "response.function_call_arguments.delta",
    "response.refusal.delta", "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
})
_RESPONSE_ENDS = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
}


def read_response(answer: Any) -> Seen:
    """Read a whole answer of the responses API."""
    status = get(answer, "status")
    seen = Seen(
        tokens=tokens_of(get(answer, "usage")),
        response_id=get(answer, "id"),
        finish=status if status in ("completed", "incomplete", "cancelled") else None,
        failed=status == "failed" or bool(get(answer, "error")),
    )
    for item in get(answer, "output") or ():
        if get(item, "type") == "function_call":
            seen.calls += (str(get(item, "call_id")),)
            seen.content = True
        for part in get(item, "content") or ():
            text = get(part, "text")
            if isinstance(text, str):
                seen.content, seen.text = True, seen.text + text
    return seen


def read_response_event(event: Any) -> Seen:
    """Read one event of a responses stream."""
    kind = get(event, "type")
    kind = str(getattr(kind, "value", kind))
    if kind in _RESPONSE_CONTENT:
        text = get(event, "delta")
        said = text if kind == "response.output_text.delta" and isinstance(text, str) else ""
        return Seen(content=True, text=said)
    if kind in _RESPONSE_ENDS:
        whole = read_response(get(event, "response"))
        # The text has come in deltas already. vLLM says "completed" whatever the status is.
        finish = whole.finish if whole.finish in ABORTED else _RESPONSE_ENDS[kind]
        return Seen(finish=finish, tokens=whole.tokens, calls=whole.calls,
                    response_id=whole.response_id, failed=whole.failed)
    return Seen(failed=kind in ("error", "response.failed", "response.error"))


def _events(chunk: bytes | str) -> Iterator[dict[str, Any]]:
    """Yield the JSON events of raw SSE; a half event is left out."""
    text = chunk.decode("utf-8", "replace") if isinstance(chunk, bytes) else chunk
    for line in text.splitlines():
        if line.startswith("data:"):
            try:
                event = json.loads(line[5:])
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def read_message_event(event: Any) -> Seen:
    """Read one event of an Anthropic messages stream."""
    kind = get(event, "type")
    if kind == "content_block_delta":
        delta = get(event, "delta")
        text = get(delta, "text")
        return Seen(content=True, text=text if isinstance(text, str) else "")
    if kind == "content_block_start":
        block = get(event, "content_block")
        if get(block, "type") == "tool_use":
            return Seen(content=True, calls=(str(get(block, "id")),))
        return Seen()
    if kind == "message_delta":
        return Seen(finish=get(get(event, "delta"), "stop_reason"),
                    tokens=tokens_of(get(event, "usage")))
    return Seen(failed=kind == "error")


def read_message(answer: Any) -> Seen:
    """Read a whole answer of the messages API."""
    seen = Seen(tokens=tokens_of(get(answer, "usage")), finish=get(answer, "stop_reason"),
                failed=get(answer, "type") == "error")
    for block in get(answer, "content") or ():
        if get(block, "type") == "tool_use":
            seen.calls += (str(get(block, "id")),)
            seen.content = True
        text = get(block, "text")
        if isinstance(text, str):
            seen.content, seen.text = True, seen.text + text
    return seen


def merge(parts: list[Seen]) -> Seen:
    """Return several parts as one."""
    if len(parts) == 1:
        return parts[0]
    whole = Seen()
    for part in parts:
        whole.content = whole.content or part.content
        whole.text += part.text
        whole.calls += part.calls
        whole.finish = part.finish or whole.finish
        whole.failed = whole.failed or part.failed
        whole.tokens = part.tokens if part.tokens is not None else whole.tokens
        whole.response_id = part.response_id or whole.response_id
    return whole


def read_chunk(chunk: Any) -> Seen:
    """Read a chunk as it passes the streaming iterator hook."""
    if isinstance(chunk, (bytes, str)):
        parts = []
        for event in _events(chunk):
            if "choices" in event:
                parts.append(read_choices(event))
            elif str(event.get("type", "")).startswith("response."):
                parts.append(read_response_event(event))
            elif "type" in event:
                parts.append(read_message_event(event))
            elif "error" in event:
                parts.append(Seen(failed=True))
        return merge(parts)
    if get(chunk, "choices") is not None:
        return read_choices(chunk)
    kind = get(chunk, "type")
    kind = str(getattr(kind, "value", kind))
    if kind.startswith("response.") or (kind == "error" and not isinstance(chunk, dict)):
        return read_response_event(chunk)
    return read_message_event(chunk)


def read_answer(answer: Any) -> Seen:
    """Read a whole, not streamed answer."""
    if get(answer, "choices") is not None:
        return read_choices(answer)
    if get(answer, "output") is not None:
        return read_response(answer)
    if get(answer, "content") is not None:
        return read_message(answer)
    if get(answer, "response") is not None:  # the last event of a nested stream
        return read_response_event(answer)
    return Seen(content=True, finish="stop", tokens=tokens_of(get(answer, "usage")))
