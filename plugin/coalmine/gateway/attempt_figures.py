"""What is told of an attempt: made of its turn and of what was heard of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from coalmine.gateway.answers import KEPT, Seen
from coalmine.gateway.turns import OpenAttempt, Turn
from coalmine.guardrails import NO_CONVERSATION, Attempt, Outcome
from coalmine.routing import Arm


def attempt_of(turn: Turn, outcome: Outcome, deployment: str, release: str, arm: Arm | None, *,
               at: float, seconds: float, running: OpenAttempt | None = None,
               tokens: int | None = None) -> Attempt:
    """Return what is told of an attempt of `turn`.

    Args:
        at: when it is told, unix seconds.
        seconds: for how long it has run.
        running: what was heard of it; None where nothing can have been.
        tokens: of its answer, where they are known already.
    """
    decision = turn.decision
    ttft = inter = None
    if running is not None and running.first is not None:
        ttft = running.first - running.began
        if running.gaps:
            inter = (running.last - running.first) / running.gaps
    return Attempt(
        at=at, service=turn.service, release=release, arm=arm,
        deployment=deployment, outcome=outcome, conversation=_conversation(turn),
        caller=turn.caller, alias=turn.alias,
        chance=decision.chance if decision else None, first_turn=turn.first,
        evidence=bool(decision and decision.evidence), ttft=ttft, inter_token=inter,
        seconds=seconds, tokens=tokens,
    )


def bound(attempt: Attempt, turn: Turn, running: OpenAttempt, now: float) -> None:
    """Let an attempt without an end tell how long what has not come has been waited for."""
    if attempt.ttft is None and turn.stream:  # what comes whole has no first token
        attempt.ttft = attempt.seconds
    if running.first is not None:
        # The gap that runs now is one of them: a stream that stalls is slow at once.
        attempt.inter_token = (now - running.first) / (running.gaps + 1)


def priced(attempt: Attempt, tokens: int | None, cost: float | None) -> Attempt:
    """Return an attempt with what the log event says of it; its own tokens come first."""
    if not cost and (tokens is None or attempt.tokens is not None):
        return attempt  # most self-hosted models have no price
    return replace(
        attempt, tokens=attempt.tokens if attempt.tokens is not None else tokens, cost=cost
    )


def keep(turn: Turn, seen: Seen) -> None:
    """Keep of an answer what lets its conversation be recognised later."""
    if seen.text and turn.history is not None and len(turn.answer) < KEPT:
        turn.answer += seen.text
    if seen.calls:
        turn.calls += tuple(call for call in seen.calls if call not in turn.calls)
    if seen.response_id:
        turn.response_id = seen.response_id


def _conversation(turn: Turn) -> str:
    """Return what stands for the conversation: "" when it was not recognised."""
    if turn.key is not None and turn.basis is not None:
        return turn.key.hex()
    return "" if turn.unrecognised else NO_CONVERSATION
