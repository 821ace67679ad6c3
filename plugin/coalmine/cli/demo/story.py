"""The demo's sequence: traffic, a rollout, a release that goes bad, and what came of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from coalmine.cli.client import ClientError, Json
from coalmine.cli.demo.aftermath import (
    Metrics,
    compared,
    log_lines,
    read_metrics,
    rollback_of,
    seconds_of,
)
from coalmine.cli.demo.engines import DemoError
from coalmine.cli.demo.facts import Facts, Pair, Turn
from coalmine.cli.demo.plan import CANDIDATE, SERVICE, STABLE, Plan
from coalmine.cli.demo.screen import Screen
from coalmine.cli.demo.stage import Stage
from coalmine.cli.demo.traffic import Traffic
from coalmine.cli.demo.watcher import CLOSE, USUAL, Watcher, everywhere
from coalmine.cli.settings import PROBING

STEP_SECONDS, BACK_SECONDS, DRAIN_SECONDS = 90.0, 45.0, 40.0
OPEN_SECONDS, COUNTS_SECONDS = 10.0, 8.0
"""Limits of what is waited for."""


async def play(stage: Stage, plan: Plan, screen: Screen) -> tuple[list[Turn], Facts]:
    """Play the demo on a stage that is set up.

    Returns:
        every turn of every conversation, and what was found out beside them.

    Raises:
        DemoError: when it could not be carried out.
    """
    traffic = Traffic(stage.proxy.url, stage.proxy.key, plan.pace, stage.engines.release_of)
    story = Story(stage, plan, screen, traffic)
    try:
        return await story.play()
    except ClientError as error:
        stage.proxy.check()
        raise DemoError(f"Coalmine did not do it: {error.message}") from error
    finally:
        await story.watcher.stop()
        await traffic.abandon()


class Story:
    """The sequence, act by act.

    Args:
        stage: engines and proxy.
        plan: how long each act lasts.
        screen: where it is told.
        traffic: the conversations.
    """

    def __init__(self, stage: Stage, plan: Plan, screen: Screen, traffic: Traffic) -> None:
        self._engines, self._proxy = stage.engines, stage.proxy
        self._plan, self._screen, self._traffic = plan, screen, traffic
        self._client = stage.proxy.client()
        self.watcher = Watcher(
            self._client, lambda service: screen.show(service, traffic), stage.proxy.check
        )

    async def play(self) -> tuple[list[Turn], Facts]:
        """Play all acts."""
        await self._begin()
        bad = await self._spoil()
        await self._go_on()
        return self._traffic.turns, await self._facts(bad)

    async def _begin(self) -> None:
        """Traffic on v1, a rollout, and v2 well at 50 %."""
        plan, say = self._plan, self._screen.say
        self._traffic.start()
        self.watcher.start()
        say(f"{plan.pace.seats} conversations talk to {STABLE}, where one ends another begins")
        await asyncio.sleep(plan.warm)
        patient = self._proxy.client(PROBING)  # both engines are asked for an answer first
        await asyncio.to_thread(patient.start, SERVICE, CANDIDATE, "coalmine demo")
        say(f"a rollout begins: {plan.weight:g} % of new conversations to {CANDIDATE}")
        await self._second_step()
        say(f"the first step is over: 50 % of new conversations to {CANDIDATE}")
        await asyncio.sleep(plan.half)

    async def _spoil(self) -> float:
        """Let v2 go bad with streams on their way, and wait until Coalmine has seen to it.

        Returns:
            when v2 gave its first bad answer, at the earliest.
        """
        await self.watcher.until(lambda _: self._traffic.flowing(CANDIDATE) > 0, OPEN_SECONDS)
        self.watcher.closely(True)
        before = time.time()
        await asyncio.to_thread(self._engines.spoil)
        self._screen.say(self._engines.spoiling)
        bad = asyncio.create_task(self._first_bad(before))
        back = await self.watcher.until(everywhere, BACK_SECONDS)
        self.watcher.closely(False)
        self._screen.say(
            f"rolled back: {self.watcher.service.get('reason')}" if back
            else f"no rollback within {BACK_SECONDS:g} s"
        )
        if not bad.done():
            bad.cancel()
        with suppress(asyncio.CancelledError):
            return await bad
        return before

    async def _first_bad(self, before: float) -> float:
        while True:
            now = time.time()
            if await asyncio.to_thread(self._engines.has_failed):
                return before
            before = now
            await asyncio.sleep(CLOSE)

    async def _go_on(self) -> None:
        """The conversations go on for a while, then end; so does the rollback."""
        await asyncio.sleep(self._plan.after)
        self._screen.say("the last answers come to their end")
        await self._traffic.stop()
        await self.watcher.until(lambda s: s.get("phase") == "rolled_back", DRAIN_SECONDS)

    async def _facts(self, bad: float) -> Facts:
        metrics, pairs = await self._counts()
        history: list[Json] = (await asyncio.to_thread(self._client.history, SERVICE))["entries"]
        entry = rollback_of(history) or {}
        epoch = (entry.get("after") or {}).get("epoch")
        return Facts(
            spoiling=self._engines.spoiling,
            dies=self._plan.engines == "vllm",
            bad=bad,
            flip=seconds_of(entry),
            last=self.watcher.applied_by_all(int(epoch)) if epoch is not None else None,
            by=str(entry.get("who", "")),
            verdict=str(entry.get("reason", "")),
            phase=str(self.watcher.service.get("phase")),
            workers=len(self.watcher.service.get("workers") or []),
            moves=dict(metrics.by("reason", "coalmine_moves_total")),
            pairs=pairs,
            history=log_lines(history),
        )

    async def _counts(self) -> tuple[Metrics, tuple[Pair, ...]]:
        """Read the counters when the last attempts have reached them."""
        deadline = time.monotonic() + COUNTS_SECONDS
        while True:
            metrics = await asyncio.to_thread(read_metrics, self._proxy)
            pairs = compared(metrics, await asyncio.to_thread(self._engines.counts))
            settled = all(p.engine is None or p.engine == p.coalmine for p in pairs)
            if settled or time.monotonic() > deadline:
                return metrics, pairs
            await asyncio.sleep(USUAL)

    async def _second_step(self) -> None:
        """Wait until the first step is over."""
        await self.watcher.until(
            lambda service: service.get("step") == 2 or everywhere(service), STEP_SECONDS
        )
        service = self.watcher.service
        if service.get("step") != 2:
            verdict = service.get("verdict") or {}
            why = verdict.get("reason") or service.get("reason")
            raise DemoError(f"the second step did not begin, chat is {service.get('phase')}: {why}")
