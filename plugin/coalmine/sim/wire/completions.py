"""`/v1/completions`."""

from __future__ import annotations

from typing import Any

from coalmine.sim.answer import Answer
from coalmine.sim.ask import Ask, prompt_of, read_limit, read_model
from coalmine.sim.refusal import malformed
from coalmine.sim.transport import DONE, sse
from coalmine.sim.wire.openai import OpenAIErrors, usage, wants_usage


class CompletionsWire(OpenAIErrors):
    """Text completions. A list of prompts gets one answer, not one per prompt."""

    path = "/v1/completions"
    id_prefix = "cmpl-"

    def parse(self, body: dict[str, Any]) -> Ask:
        prompt = body.get("prompt")
        if not isinstance(prompt, (str, list)) or not prompt:
            raise malformed("prompt: Field required, a string or a list", "prompt")
        last = prompt if isinstance(prompt, str) else prompt[-1]
        return Ask(
            model=read_model(body),
            prompt=prompt_of(prompt),
            last_user=last if isinstance(last, str) else "",
            stream=bool(body.get("stream")),
            max_tokens=read_limit(body, "max_tokens"),
            include_usage=wants_usage(body),
        )

    def whole(self, answer: Answer) -> dict[str, Any]:
        choices = [_choice(answer.text, answer.finish)]
        return {**_frame(answer), "choices": choices, "usage": usage(answer)}

    def opening(self, answer: Answer) -> bytes:
        return b""

    def piece(self, answer: Answer, index: int) -> bytes:
        return sse({**_frame(answer), "choices": [_choice(answer.pieces[index], None)]})

    def closing(self, answer: Answer) -> bytes:
        if answer.finish is None:
            return DONE
        events = sse({**_frame(answer), "choices": [_choice("", answer.finish)]})
        if answer.ask.include_usage:
            events += sse({**_frame(answer), "choices": [], "usage": usage(answer)})
        return events + DONE


def _frame(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
    }


def _choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
