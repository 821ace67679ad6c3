"""The answer to one request, complete before its first token is sent."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from coalmine.sim.ask import Ask
from coalmine.sim.faults import Decision, Outcome
from coalmine.sim.words import speak


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call; its arguments are the answer's text."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine says, free of any API's shape."""

    id: str
    created: int  # seconds since 1970
    model: str  # always the first served name, like vLLM
    pieces: tuple[str, ...]  # one per token; a tool call's arguments when there is a tool
    finish: str | None  # stop, length, tool_calls, abort; None for the no_finish fault
    ask: Ask
    tool: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    @property
    def prompt_tokens(self) -> int:
        return self.ask.prompt_tokens


def compose(
    ask: Ask,
    decision: Decision,
    *,
    seed: int,
    release: str,
    model: str,
    tokens: int,
    created: int,
    id_prefix: str,
) -> Answer:
    """The answer of this release to this request, ended as the decision says.

    The text depends on seed, release and prompt only. A tool call ignores `max_tokens`: cut
    arguments would be no JSON.
    """
    tool = None
    if ask.tool is not None:
        tool = ToolCall(f"chatcmpl-tool-{uuid.uuid4().hex}", ask.tool)
        words = "".join(speak(seed, release, ask.prompt, 4)[1:]).strip()
        pieces: tuple[str, ...] = (
            '{"release": ',
            json.dumps(release),
            ', "words": ',
            json.dumps(words) + "}",
        )
        finish: str | None = "tool_calls"
    else:
        wanted = tokens if ask.max_tokens is None else min(tokens, ask.max_tokens)
        pieces = speak(seed, release, ask.prompt, wanted)
        finish = "stop" if wanted == tokens else "length"
    if decision.outcome is Outcome.ABORT:
        pieces, finish = pieces[: decision.midway(len(pieces))], "abort"
    elif decision.outcome is Outcome.NO_FINISH:
        finish = None
    return Answer(
        id=id_prefix + uuid.uuid4().hex,
        created=created,
        model=model,
        pieces=pieces,
        finish=finish,
        ask=ask,
        tool=tool,
    )
