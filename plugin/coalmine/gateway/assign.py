"""Giving a turn its arm: the adapter between the decision table and the shared state.

The table (:mod:`coalmine.routing.decide`) says what to do; this says what is known. A conversation
that this worker knows costs no look at the state, one that it does not know costs one. Whatever
goes wrong, the turn gets stable, nothing is written, and it is no evidence.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from coalmine.gateway.identity import Identity
from coalmine.gateway.memory import Memory
from coalmine.gateway.turns import Turn
from coalmine.routing import (
    ROLLOUT_RUNS,
    Arm,
    Decision,
    Phase,
    RoutingPlan,
    bucket,
    decide,
    read_pin,
)
from coalmine.routing.history import History, answer_text
from coalmine.routing.keys import KEY_BYTES, history_aliases, response_alias
from coalmine.state import State, StateError

log = logging.getLogger("coalmine.assign")

T = TypeVar("T")

KNOWN_FOR = 60.0
"""Seconds for which known pins are kept while the state is out of reach."""


class Knowledge(Protocol):
    """What the worker knows of the services; see :class:`coalmine.gateway.follower.Follower`."""

    @property
    def state(self) -> State | None:
        """The shared state, None before it was ever reached."""

    def plan(self, service: str) -> RoutingPlan | None:
        """The plan in force."""

    def silence(self) -> float:
        """Seconds since the state was last heard of."""

    def salt(self) -> bytes:
        """The installation's salt."""


@dataclass(frozen=True, slots=True)
class Up:
    """Which arms have a deployment left for a request."""

    stable: bool = True
    candidate: bool = True


class Assigner:
    """Decides turns and keeps what was decided.

    Args:
        knowledge: plans and state.
        count: adds to a counter (metric, labels …).
        now: wall clock, unix seconds.
        executor: where calls to the state run; never the event loop.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        count: Callable[..., None],
        now: Callable[[], float],
        executor: Executor,
    ) -> None:
        self._knowledge = knowledge
        self._count = count
        self._now = now
        self._executor = executor
        self.pins: Memory[bytes, int] = Memory()
        self.aliases: Memory[bytes, bytes] = Memory()

    async def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, call, *arguments)

    async def assign(
        self, turn: Turn, identity: Identity, plan: RoutingPlan, up: Up, stale_after: float
    ) -> None:
        """Decide `turn` for the first time. Never raises; a fault of the state means stable."""
        turn.basis, turn.aliases, turn.history = identity.basis, identity.aliases, identity.history
        turn.epoch = plan.epoch
        if identity.basis is None:  # no conversation: embeddings, images, unknown kinds
            turn.decision = _stable(plan, "no turn of a conversation")
            return
        silence = self._knowledge.silence()
        turn.stale = silence > stale_after and plan.phase in (Phase.CANARY, Phase.PAUSED)
        try:
            if identity.key is not None:
                await self._by_key(turn, identity.key, plan, up, silence)
            elif identity.aliases:
                await self._by_alias(turn, plan, up, silence)
            else:
                self._afresh(turn, plan, up)
        except StateError as error:
            self._count("coalmine_faults_total", "state")
            self._unrecognised(turn, plan, "state_unreachable")
            log.warning("%s: the state is out of reach, this turn gets stable: %s",
                        turn.service, error.message)

    def again(self, turn: Turn, plan: RoutingPlan, up: Up) -> Decision:
        """Decide `turn` again: an attempt has failed, or the plan has changed under it."""
        before = turn.decision
        new = turn.pin is None and before is not None and turn.basis == "new"
        decision = decide(plan, turn.pin, new=new and not turn.stale, stable_up=up.stable,
                          candidate_up=up.candidate, draw=self._draw(turn, plan))
        if turn.basis is None or (turn.pin is None and not new):
            decision = _stable(plan, "no pin, so stable")
        self._take(turn, plan, decision)
        turn.epoch = plan.epoch
        if decision.pin is not None and turn.bound and turn.key is not None:
            code = decision.pin.code
            asyncio.get_running_loop().run_in_executor(
                self._executor, self._move_quietly, turn.key, turn.known, code
            )
            self.pins.put(turn.key, code)
            turn.known = code
        return decision

    def _draw(self, turn: Turn, plan: RoutingPlan) -> int:
        if turn.key is None:
            turn.key = secrets.token_bytes(KEY_BYTES)
        return bucket(turn.key, plan.service, plan.era, plan.change)

    def _take(self, turn: Turn, plan: RoutingPlan, decision: Decision) -> None:
        """Make `decision` the turn's, and count what it means."""
        if decision.moved is not None and decision.moved_from is not None:
            turn.moved_from = decision.moved_from
            self._count("coalmine_moves_total", plan.service, decision.moved.value)
        if decision.pin is not None:
            turn.pin = decision.pin
        turn.decision = decision

    def _began(self, turn: Turn, decision: Decision) -> None:
        """Count a conversation that was given its arm just now."""
        self._count("coalmine_conversations_total", turn.service, decision.release,
                    decision.arm.value, turn.basis or "")

    def _unrecognised(self, turn: Turn, plan: RoutingPlan, reason: str) -> None:
        turn.decision = _stable(plan, reason)
        turn.key, turn.pin = None, None
        turn.basis = None
        self._count("coalmine_unrecognised_total", turn.service, reason)

    def _afresh(self, turn: Turn, plan: RoutingPlan, up: Up) -> None:
        """A conversation that begins without an id: drawn now, written after its answer."""
        draw = self._draw(turn, plan)
        decision = decide(plan, None, new=not turn.stale, stable_up=up.stable,
                          candidate_up=up.candidate, draw=draw)
        self._take(turn, plan, decision)
        self._began(turn, decision)

    async def _by_key(
        self, turn: Turn, key: bytes, plan: RoutingPlan, up: Up, silence: float
    ) -> None:
        turn.key, turn.bound = key, True
        code = self.pins.get(key)
        if code is None:
            if turn.stale:
                self._unrecognised(turn, plan, "state_unreachable")
                return
            grace = plan.phase in ROLLOUT_RUNS and self._now() - plan.began < plan.grace
            first = decide(plan, None, new=not grace, stable_up=up.stable,
                           candidate_up=up.candidate, draw=self._draw(turn, plan))
            assert first.pin is not None, first.rule
            proposed = first.pin.code
            code = await self._claim(key, proposed)
            if code is None:
                turn.known = proposed
                self.pins.put(key, proposed)
                self._take(turn, plan, first)
                self._began(turn, first)
                return
            self.pins.put(key, code)
        await self._held(turn, code, plan, up, silence)

    async def _by_alias(self, turn: Turn, plan: RoutingPlan, up: Up, silence: float) -> None:
        key = next((k for a in turn.aliases if (k := self.aliases.get(a)) is not None), None)
        code = self.pins.get(key) if key is not None else None
        if code is None:
            if turn.stale:
                self._unrecognised(turn, plan, "state_unreachable")
                return
            found = await self._ask(self._state().resolve, turn.aliases)
            if found is None:
                self._unrecognised(turn, plan, f"unknown_{turn.basis}")
                self._mark_old(turn, plan)
                return
            key, code = found
            for alias in turn.aliases:
                self.aliases.put(alias, key)
            self.pins.put(key, code)
        turn.key, turn.bound = key, True
        await self._held(turn, code, plan, up, silence)

    def _mark_old(self, turn: Turn, plan: RoutingPlan) -> None:
        """Let what was not recognised be recognised as old from its next turn on."""
        decision = decide(plan, None, new=False)
        turn.key = secrets.token_bytes(KEY_BYTES)
        turn.pin = decision.pin

    async def _held(
        self, turn: Turn, code: int, plan: RoutingPlan, up: Up, silence: float
    ) -> None:
        """Decide for a conversation that holds a pin."""
        turn.known, turn.pin = code, read_pin(code, plan.era)
        if turn.stale and silence > KNOWN_FOR and turn.pin.arm is Arm.CANDIDATE:
            turn.decision = _stable(plan, "the state has been out of reach for long")
            return
        decision = decide(plan, turn.pin, new=False, stable_up=up.stable,
                          candidate_up=up.candidate)
        if decision.pin is not None and turn.key is not None:
            wanted = decision.pin.code
            if await self._ask(self._state().move, turn.key, code, wanted):
                turn.known = wanted
            else:
                # Another worker moved it first, and has told the client: decide with its pin.
                now = await self._claim(turn.key, wanted)
                turn.known = wanted if now is None else now
                turn.pin = read_pin(turn.known, plan.era)
                decision = decide(plan, turn.pin, new=False, stable_up=up.stable,
                                  candidate_up=up.candidate)
            self.pins.put(turn.key, turn.known)
        self._take(turn, plan, decision)

    async def answered(self, turn: Turn, plan: RoutingPlan) -> None:
        """Keep what lets the next turn of a conversation without an id find this one.

        Called with the answer complete and before the client has its end, so that the next turn
        finds it on any worker. Outside a rollout nobody waits for it.
        """
        if turn.key is None or turn.pin is None or turn.decision is None:
            return
        aliases = self._aliases_of(turn)
        if not aliases:
            return
        key, code = turn.key, turn.pin.code
        for alias in aliases:
            self.aliases.put(alias, key)
        if self.pins.get(key) is None:
            self.pins.put(key, code)
        turn.bound, turn.known = True, code
        state = self._knowledge.state
        if state is None:
            return
        bound = asyncio.get_running_loop().run_in_executor(
            self._executor, self._bind_quietly, key, code, aliases
        )
        if plan.phase in ROLLOUT_RUNS:
            await bound

    def _aliases_of(self, turn: Turn) -> tuple[bytes, ...]:
        salt = self._knowledge.salt()
        aliases: tuple[bytes, ...] = ()
        if turn.kind == "responses" and turn.response_id:
            from coalmine.gateway.identity import original_response_id

            aliases += (response_alias(salt, turn.service, turn.caller,
                                       original_response_id(turn.response_id)),)
        if turn.history is not None and (turn.answer or turn.calls):
            newest = answer_text(turn.answer, turn.calls)
            history = History(turn.history.first_user, turn.history.first_answer or newest, newest)
            aliases += history_aliases(salt, turn.service, turn.caller, history)
        return aliases

    def _state(self) -> State:
        state = self._knowledge.state
        if state is None:
            raise StateError("the shared state has not been reached yet")
        return state

    async def _claim(self, key: bytes, code: int) -> int | None:
        return await self._ask(self._state().claim, key, code)

    def _move_quietly(self, key: bytes, known: int | None, code: int) -> None:
        try:
            if known is not None:
                self._state().move(key, known, code)
        except StateError as error:
            self._count("coalmine_faults_total", "state")
            log.warning("a conversation's move could not be written: %s", error.message)

    def _bind_quietly(self, key: bytes, code: int, aliases: tuple[bytes, ...]) -> None:
        try:
            self._state().bind(key, code, aliases)
        except StateError as error:
            self._count("coalmine_faults_total", "state")
            log.warning("a conversation could not be kept: %s", error.message)


def _stable(plan: RoutingPlan, rule: str) -> Decision:
    """Stable, and nothing else."""
    return Decision(arm=Arm.STABLE, release=plan.stable, rule=rule)


__all__ = ["Assigner", "Knowledge", "Up"]
