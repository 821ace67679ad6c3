"""Seeing the finish reasons that LiteLLM hides.

vLLM ends an answer that it gave up with ``finish_reason: abort``; LiteLLM maps what it does not
know to ``stop`` before any hook sees it (measured on 1.106.2). It looks the reason up in a plain
dict, so we put one there that answers the same and notes what was asked. Where LiteLLM has no such
dict any more, an aborted answer counts as ok; a test on the real proxy would tell.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from coalmine.gateway.answers import ABORTED
from coalmine.gateway.turns import Turn

log = logging.getLogger("coalmine.litellm")

CURRENT: ContextVar[Turn | None] = ContextVar("coalmine_turn", default=None)
"""The request whose answer is being read; see :func:`make_current`."""


def make_current(turn: Turn | None) -> None:
    """Note whose answer is read now.

    Nothing is written where it is noted already, as at all chunks of a stream but the first: before
    Python 3.12 a process may crash if the garbage collector runs within ``ContextVar.set``
    (python/cpython#148891), and the fewer there are, the fewer meet it.
    """
    if CURRENT.get() is not turn:
        CURRENT.set(turn)


class _Watched(dict[str, Any]):
    """LiteLLM's own map; a look-up of an abort is noted on the current request."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Answer like dict.get."""
        if key in ABORTED:
            turn = CURRENT.get()
            if turn is not None:
                turn.aborted = True
        return super().get(key, default)


def watch() -> bool:
    """Watch LiteLLM's map; False when it is not where we know it."""
    from litellm.litellm_core_utils import core_helpers

    known = getattr(core_helpers, "_FINISH_REASON_MAP", None)
    if isinstance(known, _Watched):
        return True
    if not isinstance(known, dict):
        log.warning("LiteLLM's finish reasons cannot be watched; aborted answers count as ok")
        return False
    core_helpers._FINISH_REASON_MAP = _Watched(known)
    return True


def provider_finished(stream: Any) -> bool | None:
    """Say whether the engine itself ended a chat stream, None where that cannot be known.

    LiteLLM sends a ``stop`` of its own when the engine sent none. With ``openai/`` it keeps it out
    of the chunks that it logs; with ``hosted_vllm/`` it makes one of ``[DONE]``, which unlike all
    chunks of the engine's bears no id of its (measured on 1.106.2). Streams of text completions
    show neither.
    """
    chunks = getattr(stream, "chunks", None)
    if not isinstance(chunks, list) or not chunks:
        return None
    ends = [
        chunk for chunk in chunks[-3:]
        for choice in getattr(chunk, "choices", None) or ()
        if getattr(choice, "finish_reason", None)
    ]
    if not ends:
        return False
    if any(map(_of_engine, ends)) or not any(map(_of_engine, chunks[:1])):
        return True
    # The reason came with the last content, as a real vLLM does it at max_tokens and whenever it
    # joins pieces for a slow reader; LiteLLM takes it off there and makes an end of its own.
    stop = all(choice.finish_reason == "stop" for end in ends for choice in end.choices)
    if stop and getattr(stream, "custom_llm_provider", None) == "hosted_vllm":
        return None  # of [DONE] it makes the very same
    return True


def from_cache(stream: Any) -> bool:
    """Whether LiteLLM's cache answers, and no engine."""
    hidden = getattr(stream, "_hidden_params", None)
    return isinstance(hidden, dict) and hidden.get("cache_hit") is True


def _of_engine(chunk: Any) -> bool:
    """Whether LiteLLM noted the engine's own id at a chunk."""
    hidden = getattr(chunk, "_hidden_params", None)
    return isinstance(hidden, dict) and "received_model_id" in hidden
