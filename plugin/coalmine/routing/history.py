"""What a request's body says about its conversation, whatever the endpoint.

Only four things are read: the first thing the user said, the first and the newest answer, and
whether there is an answer at all. System prompt, tool definitions and reasoning are left out:
clients change them between turns. An answer is its text and the ids of its tool calls, because
clients echo both. The gateway gives the answer itself to :func:`answer_text` in full, the client
sends it back trimmed or not: both must come out the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT_CAP = 4096
"""Characters of a message that count; hashing a book on each turn buys nothing."""

ITEMS_CAP = 10_000
"""Messages looked at, against a body made to waste our time."""


@dataclass(frozen=True, slots=True)
class History:
    """The part of a body by which a conversation is recognised.

    Attributes:
        first_user: the first user message's text.
        first_answer: the first assistant message, None when there is none.
        newest_answer: the last assistant message, None when there is none.
    """

    first_user: str
    first_answer: str | None = None
    newest_answer: str | None = None


def answer_text(text: str, tool_calls: Sequence[str] = ()) -> str:
    """Return the form in which an answer is compared: its text and its tool calls' ids.

    Args:
        text: the whole text, of all its parts and items in their order.
        tool_calls: ids of all its tool calls, in their order.

    Reasoning in the text (up to ``</think>``) is left out, as chat front ends do when they send
    the answer back; so is the space around it, also where the cap cuts.
    """
    _, thought, said = text.partition("</think>")
    said = (said if thought else text).strip()[:TEXT_CAP].rstrip()
    return f"{said}\x1f{chr(30).join(tool_calls)[:TEXT_CAP]}"


def _text(content: Any) -> str:
    """Return the text of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = []
    for part in content[:64]:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, Mapping):
            kind = part.get("type")
            if kind in (None, "text", "input_text", "output_text") and isinstance(
                part.get("text"), str
            ):
                parts.append(part["text"])
    return "".join(parts)


def _calls(message: Mapping[str, Any]) -> list[str]:
    """Return the ids of the tool calls in an assistant message, OpenAI's or Anthropic's way."""
    found = []
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        found += [str(c.get("id", "")) for c in calls[:64] if isinstance(c, Mapping)]
    content = message.get("content")
    if isinstance(content, list):
        found += [
            str(p.get("id", ""))
            for p in content[:64]
            if isinstance(p, Mapping) and p.get("type") == "tool_use"
        ]
    return found


def _from_messages(messages: Sequence[Any]) -> History:
    """Read chat and Anthropic messages: one message is one answer."""
    user = first = newest = None
    for message in messages[:ITEMS_CAP]:
        if not isinstance(message, Mapping):
            continue
        role = message.get("role")
        if role == "user" and user is None:
            user = _text(message.get("content"))[:TEXT_CAP]
        elif role == "assistant":
            newest = message
            first = first or message
    return History(
        first_user=user or "",
        first_answer=answer_text(_text(first.get("content")), _calls(first)) if first else None,
        newest_answer=answer_text(_text(newest.get("content")), _calls(newest)) if newest else None,
    )


def _from_items(items: Sequence[Any]) -> History:
    """Read items of the responses API: a run of messages, calls and reasoning is one answer."""
    user: str | None = None
    first: tuple[list[str], list[str]] | None = None
    newest: tuple[list[str], list[str]] | None = None
    answering = False
    for item in items[:ITEMS_CAP]:
        if not isinstance(item, Mapping):
            continue
        kind, role = item.get("type"), item.get("role")
        call = isinstance(kind, str) and kind.endswith("_call")
        if role == "assistant" or call:
            if newest is None or not answering:
                newest = ([], [])
                first = first or newest
            answering = True
            newest[0].append(_text(item.get("content")))
            if kind == "function_call":
                newest[1].append(str(item.get("call_id", "")))
        elif kind != "reasoning":
            answering = False
            if role == "user" and user is None:
                user = _text(item.get("content"))[:TEXT_CAP]
    return History(
        first_user=user or "",
        first_answer=answer_text("".join(first[0]), first[1]) if first else None,
        newest_answer=answer_text("".join(newest[0]), newest[1]) if newest else None,
    )


def read_history(body: Mapping[str, Any]) -> History:
    """Read the history from a chat, messages, responses, completions or embeddings body.

    Never raises on a malformed body: what cannot be read is empty, the engine will complain.
    """
    for field in ("messages", "input"):
        value = body.get(field)
        if isinstance(value, list):
            return _from_messages(value) if field == "messages" else _from_items(value)
        if isinstance(value, str):
            return History(first_user=value[:TEXT_CAP])
    prompt = body.get("prompt")
    return History(first_user=prompt[:TEXT_CAP] if isinstance(prompt, str) else "")
