"""One request's way through the engine: waits, tokens, and the fault it was dealt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Send

from coalmine.sim.answer import Answer
from coalmine.sim.faults import Decision, Faults, Outcome
from coalmine.sim.meters import Meters
from coalmine.sim.refusal import engine_failure
from coalmine.sim.transport import send_json, send_piece, start_stream
from coalmine.sim.visit import Visit
from coalmine.sim.wire import Wire

Sleep = Callable[[float], Awaitable[object]]
Clock = Callable[[], float]

_STRIKES_MIDWAY = (Outcome.STALL, Outcome.CUT, Outcome.SSE_ERROR_MID)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast tokens come, in seconds."""

    ttft: float
    inter_token: float

    def under(self, faults: Faults) -> Pace:
        """This pace slowed (or hastened) by the faults' factors."""
        return Pace(
            self.ttft * faults.latency_factor * faults.ttft_factor,
            self.inter_token * faults.latency_factor * faults.inter_token_factor,
        )


@dataclass(slots=True)
class Turn:
    """Sends one answer, as the decision says.

    A client that leaves during a hang or a stall left because of it, which is then the outcome;
    one that leaves before its fault has shown itself is an ordinary disconnect.
    """

    wire: Wire
    answer: Answer
    decision: Decision
    pace: Pace
    send: Send
    visit: Visit
    meters: Meters
    clock: Clock
    sleep: Sleep
    began: float

    async def run(self) -> None:
        """Answer; awaits nothing after the last byte is sent."""
        if self.decision.outcome is Outcome.HANG:
            await self._hang()
        elif self.answer.ask.stream:
            await self._stream()
        else:
            await self._whole()

    async def _hang(self) -> None:
        try:
            await self.sleep(self.decision.faults.hang_seconds)
        finally:
            self._over()
        refused = engine_failure(Outcome.HANG)
        await send_json(self.send, refused.status, self.wire.refusal(refused))

    async def _whole(self) -> None:
        outcome, answer = self.decision.outcome, self.answer
        if outcome in (Outcome.SSE_ERROR, Outcome.SSE_ERROR_MID):
            # What breaks a stream under HTTP 200 is an honest 500 where nothing was sent yet.
            refused = engine_failure(outcome)
            self._over()
            await send_json(self.send, refused.status, self.wire.refusal(refused))
            return
        await self._wait(self.pace.ttft)
        self._first_token()
        if answer.ask.embed is None:
            gaps = answer.tokens - 1
            await self._wait(self.pace.inter_token * gaps)
            for _ in range(gaps):
                self.meters.next_token(self.pace.inter_token)
        if outcome is Outcome.STALL:
            await self._stall()
        cut = outcome is Outcome.CUT
        if not cut:
            self._finished()
        self._over()
        await send_json(self.send, 200, self.wire.whole(answer), cut=cut)

    async def _stream(self) -> None:
        wire, answer, outcome = self.wire, self.answer, self.decision.outcome
        await start_stream(self.send)
        if outcome is Outcome.SSE_ERROR:
            self._over()
            await send_piece(self.send, wire.failure(engine_failure(outcome)), last=True)
            return
        strike = self.decision.midway(answer.tokens) if outcome in _STRIKES_MIDWAY else -1
        await self._wait(self.pace.ttft)
        self._first_token()
        # The role goes out with the first token, as in vLLM: one write instead of two.
        await send_piece(self.send, wire.opening(answer) + wire.piece(answer, 0))
        for index in range(1, answer.tokens + 1):
            if index == strike and await self._strike():
                return
            if index == answer.tokens:
                break
            before = self.clock()
            await self._wait(self.pace.inter_token)
            self.meters.next_token(self.clock() - before)
            await send_piece(self.send, wire.piece(answer, index))
        self._finished()
        self._over()
        await send_piece(self.send, wire.closing(answer), last=True)

    async def _strike(self) -> bool:
        """The fault in the middle of a stream; whether the stream ends with it."""
        outcome = self.decision.outcome
        if outcome is Outcome.STALL:
            await self._stall()
            return False
        self._over()
        if outcome is Outcome.SSE_ERROR_MID:
            failure = self.wire.failure(engine_failure(outcome))
            await send_piece(self.send, failure, last=True)
        # A cut just stops here: the server closes a connection whose response is unfinished.
        return True

    async def _stall(self) -> None:
        try:
            await self.sleep(self.decision.faults.stall_seconds)
        except asyncio.CancelledError:
            self._over()
            raise

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self.sleep(seconds)

    def _over(self) -> None:
        self.visit.end(self.decision.outcome)

    def _first_token(self) -> None:
        self.meters.first_token(self.clock() - self.began, self.answer.prompt_tokens)

    def _finished(self) -> None:
        self.meters.finished(self.answer.finish, self.clock() - self.began)
