"""Giving a turn its arm: the adapter between the decision table and the shared state.

The table (:mod:`coalmine.routing.decide`) says what to do; this says what is known. A conversation
that this worker knows costs no look at the state, one that it does not know costs one. Whatever
goes wrong, the turn gets stable, nothing is written, and it is no evidence.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from coalmine.gateway.decisions import HeldPins, Up, only_stable
from coalmine.gateway.identity import Identity
from coalmine.gateway.knowledge import Knowledge, StateUnused, reached
from coalmine.gateway.known_pins import KnownPins
from coalmine.gateway.memory import Memory
from coalmine.gateway.newcomers import NEW_A_MINUTE, Newcomers
from coalmine.gateway.owed import Debt, Owed
from coalmine.gateway.patience import NotAsked, Patience
from coalmine.gateway.recognition import Recognition
from coalmine.gateway.turns import Turn
from coalmine.routing import (
    ROLLOUT_RUNS,
    Arm,
    Decision,
    Moved,
    Phase,
    Pin,
    RoutingPlan,
    bucket,
    decide,
    read_pin,
)
from coalmine.routing.keys import KEY_BYTES
from coalmine.routing.pins import NO_CHANCE, UNTOLD
from coalmine.state import StateError

log = logging.getLogger("coalmine.assign")

TOUCHES = 4
"""How often in the life of a pin in use the state is told that it is."""

KNOWN_FOR = 60.0
"""Seconds for which known pins are kept while the state is out of reach."""


class Assigner:
    """Decides turns and keeps what was decided.

    Args:
        knowledge: the state, and since when it is silent.
        count: adds to a counter (metric, labels …).
        now: wall clock, unix seconds.
        executor: where calls to the state run that may have to wait.
        mono: monotonic seconds.

    Attributes:
        pins, aliases: what is remembered of conversations.
        owed: pins that the state has not learnt of yet.
        answered: keeps what lets the next turn find a conversation; see :class:`Recognition`.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        count: Callable[..., None],
        now: Callable[[], float],
        executor: Executor,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._knowledge = knowledge
        self._count = count
        self._now = now
        self._executor = executor
        self._mono = mono
        self._newcomers = Newcomers()
        self._held_pins = HeldPins()
        self._patience = Patience(executor, mono)
        self.pins = KnownPins(mono)
        self.aliases: Memory[bytes, bytes] = Memory()
        self.owed = Owed(self.pins.forget, count)
        self._recognition = Recognition(
            knowledge, self.pins, self.aliases, self._patience, count, executor)
        self.answered = self._recognition.answered

    async def assign(
        self, turn: Turn, identity: Identity, plan: RoutingPlan, up: Up, stale_after: float
    ) -> None:
        """Decide `turn` for the first time. Never raises; a fault of the state means stable."""
        turn.basis, turn.aliases, turn.history = identity.basis, identity.aliases, identity.history
        turn.epoch = plan.epoch
        if identity.basis is None:  # no conversation: embeddings, images, unknown kinds
            turn.decision = only_stable(plan, "no turn of a conversation")
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
            unused = isinstance(error, StateUnused)
            self._count("coalmine_faults_total", "policy" if unused else "state")
            self._unrecognised(turn, plan, error.code if unused else "state_unreachable")
            log.debug("%s: this turn gets stable: %s", turn.service, error.message)

    def again(self, turn: Turn, plan: RoutingPlan, up: Up) -> Decision:
        """Decide `turn` again: an attempt has failed, or the plan has changed under it."""
        if turn.basis is None or turn.decision is None:
            return self._settled(turn, plan, only_stable(plan, "not recognised, so stable"))
        if turn.bound and turn.key is not None:
            # Another request of the same conversation may have moved it, and been told.
            code = self.pins.get(turn.key)
            if code is not None:
                turn.known, turn.pin = code, read_pin(code, plan.era)
        elif turn.basis == "new" and not turn.ended and not turn.failed:
            turn.pin = None  # nothing has been served yet: it begins under the new plan
        if turn.pin is None and turn.basis != "new":
            return self._settled(turn, plan, only_stable(plan, "no pin, so stable"))
        if turn.pin is not None and turn.pin.change == UNTOLD and turn.told_headers:
            return self._settled(turn, plan, only_stable(plan, "moved in this very request"))
        new = turn.pin is None and not turn.stale
        decision = decide(plan, turn.pin, new=new, stable_up=up.stable,
                          candidate_up=up.candidate, draw=self._draw(turn, plan))
        if decision.moved is not None and decision.pin is not None and turn.told_headers:
            # The headers of this answer have left: the next answer will tell.
            decision = replace(decision, pin=Pin(plan.era, UNTOLD, Arm.STABLE))
        self._settled(turn, plan, decision)
        if decision.pin is not None and turn.bound and turn.key is not None:
            code = decision.pin.code
            asyncio.get_running_loop().run_in_executor(
                self._executor, self._move_quietly, turn.key, turn.known, code
            )
            self.pins.put(turn.key, code)
            turn.known = code
        return decision

    def _settled(self, turn: Turn, plan: RoutingPlan, decision: Decision) -> Decision:
        self._take(turn, plan, decision)
        turn.epoch = plan.epoch
        return decision

    def _draw(self, turn: Turn, plan: RoutingPlan) -> int:
        if turn.key is None:
            turn.key = secrets.token_bytes(KEY_BYTES)
        return bucket(turn.key, plan.service, plan.era, plan.change)

    def _take(self, turn: Turn, plan: RoutingPlan, decision: Decision) -> None:
        """Make `decision` the turn's, and count what it means."""
        if decision.moved is not None and decision.moved_from is not None:
            turn.moved_from = decision.moved_from
            if decision.moved is not Moved.LATE:
                self._count("coalmine_moves_total", plan.service, decision.moved.value)
        if decision.pin is not None:
            turn.pin = decision.pin
        turn.decision = decision

    def _too_many(self, turn: Turn, plan: RoutingPlan) -> bool:
        """Count a new conversation of the caller's; say whether it is one too many."""
        if not self._newcomers.too_many(turn.caller, self._mono()):
            return False
        self._unrecognised(turn, plan, "too_many_new")
        turn.bound = False
        return True

    def _began(self, turn: Turn, decision: Decision) -> None:
        """Note and count a conversation that was given its arm just now."""
        turn.first = True
        self._count("coalmine_conversations_total", turn.service, decision.release,
                    decision.arm.value, turn.basis or "")

    def _unrecognised(self, turn: Turn, plan: RoutingPlan, reason: str) -> None:
        turn.decision = only_stable(plan, reason)
        turn.key, turn.pin = None, None
        turn.basis, turn.unrecognised = None, True
        self._count("coalmine_unrecognised_total", turn.service, reason)

    def _afresh(self, turn: Turn, plan: RoutingPlan, up: Up) -> None:
        """A conversation that begins without an id: drawn now, written after its answer."""
        if self._too_many(turn, plan):
            return
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
            code = self.owed.get(key)
        else:
            self._keep_alive(key, code)
        if code is None:
            if self._too_many(turn, plan):
                return
            if turn.stale:
                self._begins(key, plan, Pin(plan.era, NO_CHANCE, Arm.STABLE))
                self._unrecognised(turn, plan, "state_unreachable")
                return
            grace = plan.phase in ROLLOUT_RUNS and self._now() - plan.began < plan.grace
            first = decide(plan, None, new=not grace, stable_up=up.stable,
                           candidate_up=up.candidate, draw=self._draw(turn, plan))
            assert first.pin is not None, first.rule
            proposed, since = first.pin.code, self.pins.forgotten
            try:
                code = await self._patience.ask_fast(reached(self._knowledge).claim, key, proposed)
            except StateError as error:
                baking = plan.phase is Phase.BAKING  # then the last routing stays
                pin = Pin(plan.era, NO_CHANCE, first.arm if baking else Arm.STABLE)
                self._begins(key, plan, pin, None if isinstance(error, NotAsked) else first.pin)
                if not baking:
                    raise
                turn.known = pin.code
                self._take(turn, plan, replace(first, pin=pin, chance=None, evidence=False))
                self._count("coalmine_faults_total", "state")
                return
            self.pins.put(key, proposed if code is None else code, since)
            if code is None:
                turn.known = proposed
                self._take(turn, plan, first)
                self._began(turn, first)
                return
        await self._held(turn, code, plan, up, silence)

    def _keep_alive(self, key: bytes, code: int) -> None:
        """Let the state know now and then of a conversation that nobody has to ask it about."""
        state = self._knowledge.state
        if state is not None and self.pins.due(key, state.pin_ttl / TOUCHES):
            self._executor.submit(self._touch, key, code)

    def _touch(self, key: bytes, code: int) -> None:
        try:
            held = self._patience.ask_here(reached(self._knowledge).claim, key, code)
            if held not in (None, code):
                self.pins.forget(key)  # another worker has moved it
        except StateError as error:
            log.debug("a pin's life could not be prolonged: %s", error.message)

    def _begins(self, key: bytes, plan: RoutingPlan, pin: Pin, asked: Pin | None = None) -> None:
        """Keep by whom a conversation was served first, as the state does not answer.

        What it was `asked` to write may be there all the same. If that is of the other arm, the
        client is told of a move, as it is if another worker had begun the conversation there.
        """
        if self._knowledge.state is None:
            return  # before it ever answered its salt is not known, and so no conversation
        instead = pin if asked is None or asked.arm is pin.arm else Pin(plan.era, UNTOLD, pin.arm)
        self.owed.add(key, Debt(pin.code, doubtful=asked.code if asked is not None else None,
                                instead=instead.code))

    async def _by_alias(self, turn: Turn, plan: RoutingPlan, up: Up, silence: float) -> None:
        key = self._recognition.remembered(turn.aliases)
        code = self.pins.get(key) if key is not None else None
        if code is None:
            if turn.stale:
                self._unrecognised(turn, plan, "state_unreachable")
                return
            found = await self._recognition.look_up(turn.aliases)
            if found is None:
                self._unrecognised(turn, plan, f"unknown_{turn.basis}")
                if not self._newcomers.too_many(turn.caller, self._mono()):
                    self._mark_old(turn, plan)
                return
            key, code = found
        owed = self.owed.get(key) if key is not None else None
        turn.key, turn.bound = key, True
        await self._held(turn, code if owed is None else owed, plan, up, silence)

    def _mark_old(self, turn: Turn, plan: RoutingPlan) -> None:
        """Let what was not recognised be recognised as old from its next turn on."""
        decision = decide(plan, None, new=False)
        turn.key = secrets.token_bytes(KEY_BYTES)
        turn.pin = decision.pin

    async def _held(
        self, turn: Turn, code: int, plan: RoutingPlan, up: Up, silence: float
    ) -> None:
        """Decide for a conversation that holds a pin."""
        turn.pin, decision = self._held_pins.ask(plan, code, up)
        turn.known = code
        if turn.stale and silence > KNOWN_FOR and turn.pin.arm is Arm.CANDIDATE:
            turn.decision = only_stable(plan, "the state has been out of reach for long")
            return
        if decision.pin is not None and turn.key is not None:
            wanted = decision.pin.code
            held = await self._rewrite(turn.key, code, wanted)
            turn.known = wanted if held is None else held
            self.pins.put(turn.key, turn.known)
            if held is not None:
                # Another worker moved it first, and has told the client: decide with its pin.
                turn.pin, decision = self._held_pins.ask(plan, held, up)
        self._take(turn, plan, decision)

    async def _rewrite(self, key: bytes, code: int, wanted: int) -> int | None:
        """Write that a conversation leaves `code`; return what another worker wrote first.

        A state that does not answer learns of it later: the client is told now all the same, as
        one who is told twice is better off than one who never is.
        """
        if self.owed.get(key) is not None:
            self.owed.add(key, Debt(wanted, held=code))  # the state does not even know of `code`
            return None
        try:
            state = reached(self._knowledge)
            if await self._patience.ask(state.move, key, code, wanted):
                return None
            return await self._patience.ask(state.claim, key, wanted)
        except StateError as error:
            self._move_later(key, code, wanted, error)
            return None

    def _move_quietly(self, key: bytes, known: int | None, code: int) -> None:
        if self.owed.get(key) is not None:
            self.owed.add(key, Debt(code, held=known))
            return
        try:
            if known is not None and not reached(self._knowledge).move(key, known, code):
                self.pins.forget(key)  # another worker has moved it, who knows where to
        except StateError as error:
            self._move_later(key, known, code, error)

    def _move_later(self, key: bytes, known: int | None, code: int, error: StateError) -> None:
        self.owed.add(key, Debt(code, held=known))
        self._count("coalmine_faults_total", "state")
        log.debug("a conversation's move is written later: %s", error.message)


__all__ = ["NEW_A_MINUTE", "Assigner", "Up"]
