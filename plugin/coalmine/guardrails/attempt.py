"""An attempt that has ended: the one record from which every figure is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from coalmine.routing import Arm


class Outcome(str, Enum):
    """How an attempt ended. The first three failures are the release's; the last two never are."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    INCOMPLETE = "incomplete"
    CLIENT_ERROR = "client_error"
    DISCONNECT = "disconnect"
    """Its client would not wait any longer. Its times are lower bounds, as those of WAITING."""
    DOWN = "down"
    """No attempt was made: the arm had no deployment left for this request. Counted for
    availability only, in no rate."""
    WAITING = "waiting"
    """It has not ended: its times are lower bounds, so that a hang is seen before its timeout.
    Counted nowhere; told to the evidence only, more than once for an attempt."""


FAILURES = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.INCOMPLETE})
"""What counts against a release."""


NO_CONVERSATION = "-"
"""In an attempt's conversation: the request is no turn of any, so nothing was left unrecognised."""


@dataclass(slots=True)  # not frozen: to make a frozen one takes 2 µs more, for each attempt
class Attempt:
    """One call to one deployment, ended.

    Attributes:
        at: unix time of its end, seconds.
        service: the service; the model group's name where no policy names it.
        release: the release, "" when unknown (observe mode).
        arm: the arm, None outside a rollout's releases.
        deployment: LiteLLM's id of the deployment.
        outcome: how it ended.
        conversation: hash that stands for the conversation, "" when it was not recognised,
            :data:`NO_CONVERSATION` when there is none to recognise (embeddings, images).
        caller: hash that stands for the caller's key.
        alias: the key's alias, for people; "" when it has none.
        chance: the candidate's chance when the conversation was drawn, None when it was not.
        first_turn: whether its request began the conversation: no worker knew an earlier turn. All
            attempts of that request say so. Never true for what was not recognised; true for an id
            first seen in `sessions.grace`, which may be an old one, and so is no evidence.
        evidence: whether it counts in comparisons of the arms.
        ttft: seconds to the first content, None when there was none.
        inter_token: mean seconds between two chunks of content, None with fewer than two.
        seconds: whole time in seconds; 0 where a cache answered, which only tells that there is a
            conversation.
        tokens: tokens of the answer, None when unknown.
        cost: its cost in dollars, None when unknown.
        score: what an evaluation gave the answer, 0 to 1, None without one.
    """

    at: float
    service: str
    release: str
    arm: Arm | None
    deployment: str
    outcome: Outcome
    conversation: str = ""
    caller: str = ""
    alias: str = ""
    chance: float | None = None
    first_turn: bool = False
    evidence: bool = False
    ttft: float | None = None
    inter_token: float | None = None
    seconds: float = 0.0
    tokens: int | None = None
    cost: float | None = None
    score: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it counts against its release."""
        return self.outcome in FAILURES

    @property
    def judged(self) -> bool:
        """Whether it is in the rates at all."""
        return self.outcome is Outcome.OK or self.failed


def to_row(attempt: Attempt) -> list[Any]:
    """Return the attempt as a JSON array, in the order of its fields; its enums are texts too."""
    return [
        attempt.at, attempt.service, attempt.release,
        attempt.arm, attempt.deployment, attempt.outcome,
        attempt.conversation, attempt.caller, attempt.alias, attempt.chance,
        attempt.first_turn, attempt.evidence, attempt.ttft, attempt.inter_token, attempt.seconds,
        attempt.tokens, attempt.cost, attempt.score,
    ]


def _time(value: Any) -> float | None:
    """A measure of time or cost: finite and not negative, else it is dropped."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) and value >= 0 else None
    return None


def _count(value: Any) -> int | None:
    """A number of tokens: whole and not negative, else it is dropped."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    return None


def _score(value: Any) -> float | None:
    """A share: from 0 to 1, else it is dropped."""
    share = _time(value)
    return share if share is not None and share <= 1.0 else None


def _moment(value: Any) -> float:
    """A time of ours; one that is not finite would stay in a window for ever."""
    at = float(value)
    if not math.isfinite(at):
        raise ValueError(f"{value!r} is no time")
    return at


def from_row(row: Any) -> Attempt:
    """Return the attempt that :func:`to_row` wrote; a senseless measure becomes None.

    Raises:
        ValueError: when it is no such array.
    """
    try:
        (at, service, release, arm, deployment, outcome, conversation, caller, alias, chance,
         first_turn, evidence, ttft, inter_token, seconds, tokens, cost, score) = row
        return Attempt(
            at=_moment(at), service=str(service), release=str(release),
            arm=Arm(arm) if arm is not None else None, deployment=str(deployment),
            outcome=Outcome(outcome), conversation=str(conversation), caller=str(caller),
            alias=str(alias), chance=_time(chance), first_turn=first_turn is True,
            evidence=bool(evidence), ttft=_time(ttft), inter_token=_time(inter_token),
            seconds=_time(seconds) or 0.0, tokens=_count(tokens), cost=_time(cost),
            score=_score(score),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not an attempt: {str(row)[:200]}") from error
