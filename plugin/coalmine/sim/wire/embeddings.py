"""`/v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from typing import Any

from coalmine.sim.answer import Answer
from coalmine.sim.ask import Ask, Embed, prompt_of, read_limit, read_model
from coalmine.sim.refusal import malformed
from coalmine.sim.wire.openai import OpenAIErrors
from coalmine.sim.words import canonical, vector

_DIMENSIONS = 16
_MOST_DIMENSIONS = 4096


class EmbeddingsWire(OpenAIErrors):
    """Embeddings: one vector per input, of this release's own space. Never a stream."""

    path = "/v1/embeddings"
    id_prefix = "embd-"

    def __init__(self, seed: int, release: str) -> None:
        self._seed = seed
        self._release = release

    def parse(self, body: dict[str, Any]) -> Ask:
        given = body.get("input")
        if not isinstance(given, (str, list)) or not given:
            raise malformed("input: Field required, a string or a list", "input")
        # A flat list of numbers is one text as token ids.
        many = isinstance(given, list) and not isinstance(given[0], int)
        inputs = given if many else [given]
        texts = tuple(text if isinstance(text, str) else canonical(text) for text in inputs)
        dimensions = read_limit(body, "dimensions") or _DIMENSIONS
        if dimensions > _MOST_DIMENSIONS:
            raise malformed(f"dimensions must be at most {_MOST_DIMENSIONS}", "dimensions")
        return Ask(
            model=read_model(body),
            prompt=prompt_of(given),
            last_user=texts[-1],
            embed=Embed(texts, body.get("encoding_format") == "base64", dimensions),
        )

    def whole(self, answer: Answer) -> dict[str, Any]:
        embed = answer.ask.embed
        assert embed is not None  # this API's parse always sets it
        data = [
            {"index": index, "object": "embedding", "embedding": self._encoded(text, embed)}
            for index, text in enumerate(embed.texts)
        ]
        tokens = answer.prompt_tokens
        return {
            "id": answer.id,
            "object": "list",
            "created": answer.created,
            "model": answer.model,
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }

    def opening(self, answer: Answer) -> bytes:
        return b""

    def piece(self, answer: Answer, index: int) -> bytes:
        return b""

    def closing(self, answer: Answer) -> bytes:
        return b""

    def _encoded(self, text: str, embed: Embed) -> list[float] | str:
        numbers = vector(self._seed, self._release, text, embed.dimensions)
        if not embed.base64:
            return numbers
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
