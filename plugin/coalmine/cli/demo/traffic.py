"""Conversations as people have them, through the real OpenAI client."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from coalmine.cli.demo.facts import Turn
from coalmine.cli.demo.plan import SERVICE, Pace

RATE_SPAN = 3.0
"""Seconds over which the requests per second are taken."""

ENDING_SECONDS = 20.0
ANSWER_SECONDS = 30.0
TOPICS = "canaries coal gas lamps ponies rails ropes shafts shifts timber tunnels water".split()


@dataclass(slots=True)
class Talk:
    """A conversation that is going on."""

    id: str
    messages: list[dict[str, str]] = field(default_factory=list)
    release: str | None = None
    flowing: bool = False


@dataclass(slots=True)
class _Answer:
    """What has come of an answer so far."""

    release: str | None = None
    moved: str | None = None
    text: str = ""
    finish: str | None = None
    opened: bool = False

    def head(self, headers: httpx.Headers) -> None:
        """Read what the headers say."""
        self.release = headers.get("x-coalmine-release")
        self.moved = headers.get("x-coalmine-moved")


class Traffic:
    """Conversations that go on, each in a seat of its own, until `stop`.

    Args:
        url: the proxy's address.
        key: a key of it.
        pace: how the clients behave.
        release_of: which release wrote a text.
    """

    def __init__(self, url: str, key: str, pace: Pace,
                 release_of: Callable[[str], str | None]) -> None:
        self.turns: list[Turn] = []
        self._pace = pace
        self._release_of = release_of
        self._stopping = asyncio.Event()
        self._talks: dict[int, Talk] = {}
        self._begun = 0
        # No retries: what a user would see must be seen.
        self._openai = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=ANSWER_SECONDS,
            http_client=httpx.AsyncClient(trust_env=False),
        )
        self._seats: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let the conversations begin."""
        self._seats = [asyncio.create_task(self._seat(n)) for n in range(self._pace.seats)]

    async def stop(self) -> None:
        """Let every answer that is on its way come to its end, and no more begin."""
        self._stopping.set()
        if self._seats:
            _, late = await asyncio.wait(self._seats, timeout=ENDING_SECONDS)
            for seat in late:
                seat.cancel()
            for ended in await asyncio.gather(*self._seats, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    async def abandon(self) -> None:
        """End the conversations as they are, if they have not ended yet, and the client."""
        self._stopping.set()
        for seat in self._seats:
            seat.cancel()
        await asyncio.gather(*self._seats, return_exceptions=True)
        await self._openai.close()

    def rate(self) -> float:
        """Answers a second, lately."""
        since = time.time() - RATE_SPAN
        return sum(turn.ended > since for turn in self.turns[-500:]) / RATE_SPAN

    def errors(self) -> int:
        """Errors that users have seen."""
        return sum(turn.error is not None for turn in self.turns)

    def moves(self) -> int:
        """Moves that answers have told of."""
        return sum(turn.moved is not None for turn in self.turns)

    def releases(self) -> Counter[str]:
        """Conversations that are going on, by release."""
        return Counter(talk.release for talk in self._talks.values() if talk.release)

    def flowing(self, release: str) -> int:
        """Long streams of a release that have begun and not ended."""
        return sum(t.flowing and t.release == release for t in self._talks.values())

    async def _seat(self, seat: int) -> None:
        await self._pause(random.uniform(0, self._pace.think[1]))
        while not self._stopping.is_set():
            self._begun += 1
            talk = self._talks[seat] = Talk(f"demo-{self._begun:04d}")
            for number in range(1, random.randint(*self._pace.turns) + 1):
                self.turns.append(await self._turn(talk, number))
                await self._pause(random.uniform(*self._pace.think))
                if self._stopping.is_set():
                    break

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _turn(self, talk: Talk, number: int) -> Turn:
        """Ask once and take down what comes of it."""
        question = f"Turn {number}: tell me more about {random.choice(TOPICS)}."
        talk.messages.append({"role": "user", "content": question})
        answer, error = _Answer(), None
        began = time.time()
        try:
            await self._ask(talk, answer)
            if not answer.finish:
                error = "the answer has no end"
        except (openai.OpenAIError, httpx.HTTPError, ValueError) as problem:
            error = f"{type(problem).__name__}: {problem}"[:300]
            if isinstance(problem, openai.APIStatusError):
                answer.head(problem.response.headers)
        except asyncio.CancelledError:
            # Only the end of the demo cancels, and only what is hopelessly late.
            error = f"no end of the answer within {ENDING_SECONDS:.0f} s"
        talk.flowing = False
        if error is None:
            talk.messages.append({"role": "assistant", "content": answer.text})
        return Turn(
            conversation=talk.id, number=number, began=began, ended=time.time(),
            release=answer.release, said=self._release_of(answer.text), moved=answer.moved,
            error=error, opened=answer.opened,
        )

    async def _ask(self, talk: Talk, answer: _Answer) -> None:
        stream = random.random() >= self._pace.whole_share
        length: dict[str, Any] = {"max_tokens": random.randint(*self._pace.tokens)}
        long = random.random() < self._pace.long_share
        if long:
            # vLLM's word for "do not stop by yourself"; a simulated engine does not know it.
            length = {"max_tokens": self._pace.long_tokens, "extra_body": {"ignore_eos": True}}
            stream = True
        raw = await self._openai.chat.completions.with_raw_response.create(
            model=SERVICE, messages=talk.messages, stream=stream,  # type: ignore[arg-type]
            extra_headers={"x-coalmine-session": talk.id}, **length,
        )
        answer.head(raw.headers)
        talk.release = answer.release
        found: Any = raw.parse()
        if not stream:
            answer.opened = True
            answer.text = found.choices[0].message.content or ""
            answer.finish = found.choices[0].finish_reason
            return
        async for chunk in found:
            answer.opened, talk.flowing = True, long
            for choice in chunk.choices:
                answer.text += choice.delta.content or ""
                answer.finish = choice.finish_reason or answer.finish
