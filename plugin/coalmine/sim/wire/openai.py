"""What vLLM's OpenAI endpoints have in common: errors, and the counts of tokens."""

from __future__ import annotations

from typing import Any

from coalmine.sim.answer import Answer
from coalmine.sim.refusal import Refused
from coalmine.sim.transport import DONE, sse


class OpenAIErrors:
    """How vLLM's OpenAI endpoints say that something failed."""

    def failure(self, refused: Refused) -> bytes:
        return sse(refused.openai()) + DONE

    def refusal(self, refused: Refused) -> dict[str, Any]:
        return refused.openai()


def usage(answer: Answer) -> dict[str, Any]:
    """Token counts, as chat and text completions give them."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
        "completion_tokens": answer.tokens,
        "prompt_tokens_details": None,
    }


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether `stream_options.include_usage` is set."""
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))
