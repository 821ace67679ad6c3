"""The record of one client request, from its first hook to its last.

LiteLLM calls many hooks for one request. They find each other's facts by a token that we put into
the request's metadata ourselves, over anything that a client may have put there; LiteLLM's own
call id can be chosen by the client, so it would let two requests share a record.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from coalmine.guardrails import Attempt
from coalmine.routing import Arm, Decision, Pin
from coalmine.routing.history import History

TOKEN = "coalmine"
"""Name of the token in LiteLLM's metadata."""

BUCKETS = ("litellm_metadata", "metadata")
"""Where LiteLLM keeps a request's metadata: the first on messages and responses, else the other."""

TOKEN_BYTES = 16

FINISHED_KEPT = 30.0
"""Seconds that a finished request's record is kept, for hooks that come late."""

LOST_AFTER = 7200.0
"""Seconds after which a request that never ended is given up."""

IDLE_KEPT = 300.0
"""Seconds that a request without any attempt is kept: one that LiteLLM refused has no end."""


@dataclass(slots=True)
class OpenAttempt:
    """An attempt that runs.

    Attributes:
        deployment: LiteLLM's id of the deployment.
        call_type: LiteLLM's call type of the hook that opened it.
        release: the deployment's release, "" when it has none.
        arm: its arm, None when it has none.
        began: monotonic time of its beginning.
        first: monotonic time of the first content, None before.
        last: monotonic time of the newest content.
        gaps: number of gaps between contents.
        streaming: the iterator hook has taken it over.
        told_at: seconds since its beginning at which the evidence is told that it still runs.
    """

    deployment: str
    call_type: str
    release: str
    arm: Arm | None
    began: float
    first: float | None = None
    last: float = 0.0
    gaps: int = 0
    streaming: bool = False
    told_at: float = 1.0


@dataclass(slots=True)
class Turn:
    """One client request.

    Attributes:
        token: its name in the metadata.
        service: the service it asks for, or the model group that no policy names.
        stream: the client asked for a stream.
        kind: ``chat``, ``completion``, ``messages``, ``responses``, ``embedding`` or ``other``.
        began: monotonic time.
        caller: hash of the caller's key; alias: its alias, for people.
        admin: the caller is a proxy admin; tries: and addresses a slot or a deployment on purpose,
            or what no policy names.
        key: the conversation's key, None when there is none.
        basis: how it was recognised, None when it was not or is no turn of a conversation.
        unrecognised: it is one, and was not recognised.
        first: the conversation began with it: no worker knew an earlier turn.
        pin: what it holds; bound: whether the shared state knows.
        known: the pin as the shared state was last seen to have it.
        aliases: aliases of the request under which it may be found again.
        history: what the request's body says, for the answer's aliases.
        decision: the routing decision in force; epoch: of the plan that made it.
        failed: arms that have failed this request; tried: and ids of deployments that have.
        moved_from: the release it left in this request.
        told_headers: the answer's headers have been made.
        open: the attempt that runs, None between attempts.
        ended: attempts that have ended.
        pending: the ended attempt that waits for LiteLLM's log event, to learn tokens and cost, and
            the name under which the sink knows it.
        told: tokens and cost, where the log event came before the stream's end.
        rescue: the list that LiteLLM was given as fallbacks, and `usual` what it would have had.
        answer, calls, response_id: what the answer said, to recognise it later.
        aborted: the engine gave the answer up, which LiteLLM hides.
        finished: monotonic time at which the last attempt ended, None while one runs.
    """

    token: str
    service: str
    kind: str
    began: float
    caller: str = ""
    alias: str = ""
    admin: bool = False
    tries: bool = False
    client_timeout: bool = False
    stream: bool = False
    key: bytes | None = None
    basis: str | None = None
    unrecognised: bool = False
    first: bool = False
    pin: Pin | None = None
    known: int | None = None
    bound: bool = False
    aliases: tuple[bytes, ...] = ()
    history: History | None = None
    decision: Decision | None = None
    epoch: int = -1
    stale: bool = False
    failed: set[Arm] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    moved_from: str | None = None
    told_headers: bool = False
    open: OpenAttempt | None = None
    ended: int = 0
    pending: tuple[Attempt, int] | None = None
    told: tuple[int | None, float | None] | None = None
    rescue: list[Any] | None = None
    usual: list[Any] | None = None
    answer: str = ""
    calls: tuple[str, ...] = ()
    response_id: str | None = None
    aborted: bool = False
    finished: float | None = None


def metadata_of(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return LiteLLM's metadata of a request, None when it carries none."""
    for bucket in BUCKETS:
        metadata = data.get(bucket)
        if isinstance(metadata, dict):
            return metadata
    return None


class Turns:
    """The requests that run in this worker, and those that ended a moment ago."""

    def __init__(self) -> None:
        self._by_token: dict[str, Turn] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Turn]:
        return iter(list(self._by_token.values()))

    def begin(self, data: dict[str, Any], service: str, kind: str, now: float) -> Turn:
        """Begin the record of a request and put its token into the request's metadata."""
        # Random each time: engines and loggers may see one, and must not know the next by it.
        turn = Turn(secrets.token_hex(TOKEN_BYTES), service, kind, now)
        metadata = metadata_of(data)
        if metadata is None:
            metadata = data[BUCKETS[-1]] = {}
        metadata[TOKEN] = turn.token
        self._by_token[turn.token] = turn
        return turn

    def of(self, kwargs: Mapping[str, Any] | None) -> Turn | None:
        """Return the record of the request that a hook's arguments belong to."""
        if not kwargs:
            return None
        for bucket in BUCKETS:
            metadata = kwargs.get(bucket)
            if isinstance(metadata, dict):
                token = metadata.get(TOKEN)
                turn = self._by_token.get(token) if isinstance(token, str) else None
                if turn is not None:
                    return turn
        return None

    def sweep(self, now: float) -> list[Turn]:
        """Forget finished requests; return those that never ended and are given up."""
        lost = []
        for token, turn in list(self._by_token.items()):
            done = turn.finished is not None and now - turn.finished > FINISHED_KEPT
            never = turn.finished is None and turn.open is None and now - turn.began > IDLE_KEPT
            if done or never:
                del self._by_token[token]
            elif now - turn.began > LOST_AFTER:
                del self._by_token[token]
                lost.append(turn)
        return lost
