"""What a client asks for, read from the bodies of the five APIs into one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coalmine.sim.refusal import malformed
from coalmine.sim.words import canonical


@dataclass(frozen=True, slots=True)
class Embed:
    """The part of a request that only embeddings have."""

    texts: tuple[str, ...]
    base64: bool
    dimensions: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, whatever API it came through."""

    model: str | None  # None: the engine's own model, as in vLLM
    prompt: str  # all that the words depend on, in one spelling
    last_user: str
    stream: bool = False
    max_tokens: int | None = None
    include_usage: bool = False
    tool: str | None = None  # the function to call instead of talking
    store: bool = False
    previous_response_id: str | None = None
    embed: Embed | None = None

    @property
    def prompt_tokens(self) -> int:
        """About four characters make a token."""
        return max(1, len(self.prompt) // 4)


def read_model(body: dict[str, Any]) -> str | None:
    """The model name; raises Refused when it is no string."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise malformed("Input should be a valid string", "model")
    return model


def read_limit(body: dict[str, Any], *names: str) -> int | None:
    """The first token limit that is given; raises Refused when it is no positive number."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise malformed(f"{name} must be at least 1, got {value!r}.", name)
        return value
    return None


def read_turns(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of messages under `name`; raises Refused when absent, empty or malformed."""
    turns = body.get(name)
    if not isinstance(turns, list) or not turns:
        raise malformed(f"{name}: Field required, a list with at least one message", name)
    if not all(isinstance(turn, dict) for turn in turns):
        raise malformed(f"{name}: every message must be an object", name)
    return turns


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts of which some hold text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(text for text in texts if isinstance(text, str))
    return ""


def last_user_text(turns: Sequence[dict[str, Any]]) -> str:
    """What the user said last; empty when the user said nothing."""
    for turn in reversed(turns):
        if turn.get("role") == "user":
            return text_of(turn.get("content"))
    return ""


def tool_to_call(body: dict[str, Any], last_user: str) -> str | None:
    """The first tool's name when the user's last words hold "call tool", else None."""
    tools = body.get("tools")
    if not isinstance(tools, list) or "call tool" not in last_user.lower():
        return None
    for tool in tools:
        if isinstance(tool, dict):
            inner = tool.get("function")
            name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
            if isinstance(name, str):
                return name
    return None


def prompt_of(*parts: Any) -> str:
    """The parts of a body that the answer's words depend on."""
    return canonical(list(parts))
