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
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

from coalmine.gateway.identity import Identity, aliases_of, original_response_id
from coalmine.gateway.memory import Memory
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
from coalmine.routing.history import History, answer_text
from coalmine.routing.keys import KEY_BYTES, response_alias
from coalmine.routing.pins import UNTOLD
from coalmine.state import State, StateBusy, StateError, StateUnreachable

log = logging.getLogger("coalmine.assign")

T = TypeVar("T")

NEW_A_MINUTE = 3000
"""New conversations of one key that a worker takes in a minute. More get stable and no pin: a pin
outlives its request by a day, and nobody may fill the state."""

KNOWN_FOR = 60.0
"""Seconds for which known pins are kept while the state is out of reach."""

PATIENCE = 1.0
"""Seconds between two questions to a state that does not answer. A question may take as long as the
state's deadline, and there are few threads for them: without this every request would wait."""


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


class Up(NamedTuple):
    """Which arms have a deployment left for a request."""

    stable: bool = True
    candidate: bool = True


class Assigner:
    """Decides turns and keeps what was decided.

    Args:
        knowledge: plans and state.
        count: adds to a counter (metric, labels …).
        now: wall clock, unix seconds.
        executor: where calls to the state run that may have to wait.
        mono: monotonic seconds.
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
        self._failed = float("-inf")
        self._fresh: Counter[str] = Counter()
        self._minute = -1
        self._answers: dict[str, tuple[
            RoutingPlan | None, dict[tuple[int, bool, bool], tuple[Pin, Decision]]]] = {}
        self.pins: Memory[bytes, int] = Memory()
        self.aliases: Memory[bytes, bytes] = Memory()

    async def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        """Ask the state in a thread, unless it has just failed to answer."""
        self._patient()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._try, call, *arguments)

    async def _ask_fast(self, call: Callable[..., T], *arguments: object) -> T:
        """Ask what a state answers at once as a rule; in a thread when it would have to wait."""
        self._patient()
        try:
            return call(*arguments, wait=False)
        except StateBusy:
            return await self._ask(call, *arguments)
        except StateError:
            self._failed = self._mono()
            raise

    def _patient(self) -> None:
        if self._mono() - self._failed < PATIENCE:
            raise StateUnreachable("the state did not answer a moment ago")

    def _try(self, call: Callable[..., T], *arguments: object) -> T:
        self._patient()  # it may have failed while we stood in the queue
        try:
            return call(*arguments)
        except StateError:
            self._failed = self._mono()
            raise

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
            log.debug("%s: the state is out of reach, this turn gets stable: %s",
                      turn.service, error.message)

    def again(self, turn: Turn, plan: RoutingPlan, up: Up) -> Decision:
        """Decide `turn` again: an attempt has failed, or the plan has changed under it."""
        if turn.basis is None or turn.decision is None:
            return self._settled(turn, plan, _stable(plan, "not recognised, so stable"))
        if turn.bound and turn.key is not None:
            # Another request of the same conversation may have moved it, and been told.
            code = self.pins.get(turn.key)
            if code is not None:
                turn.known, turn.pin = code, read_pin(code, plan.era)
        elif turn.basis == "new" and not turn.ended and not turn.failed:
            turn.pin = None  # nothing has been served yet: it begins under the new plan
        if turn.pin is None and turn.basis != "new":
            return self._settled(turn, plan, _stable(plan, "no pin, so stable"))
        if turn.pin is not None and turn.pin.change == UNTOLD and turn.told_headers:
            return self._settled(turn, plan, _stable(plan, "moved in this very request"))
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
        """Count a new conversation of the caller's; say whether there are too many of them."""
        minute = int(self._mono() // 60)
        if minute != self._minute:
            self._minute = minute
            self._fresh.clear()
        self._fresh[turn.caller] += 1
        if self._fresh[turn.caller] <= NEW_A_MINUTE:
            return False
        self._unrecognised(turn, plan, "too_many_new")
        turn.bound = False
        return True

    def _began(self, turn: Turn, decision: Decision) -> None:
        """Count a conversation that was given its arm just now."""
        self._count("coalmine_conversations_total", turn.service, decision.release,
                    decision.arm.value, turn.basis or "")

    def _unrecognised(self, turn: Turn, plan: RoutingPlan, reason: str) -> None:
        turn.decision = _stable(plan, reason)
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
            if turn.stale:
                self._unrecognised(turn, plan, "state_unreachable")
                return
            if self._too_many(turn, plan):
                return
            grace = plan.phase in ROLLOUT_RUNS and self._now() - plan.began < plan.grace
            first = decide(plan, None, new=not grace, stable_up=up.stable,
                           candidate_up=up.candidate, draw=self._draw(turn, plan))
            assert first.pin is not None, first.rule
            proposed, since = first.pin.code, self.pins.forgotten
            try:
                code = await self._ask_fast(self._state().claim, key, proposed)
            except StateError:
                if plan.phase is not Phase.BAKING:
                    raise
                # The last routing stays; as nothing was written, it is no evidence.
                turn.bound = False
                self._take(turn, plan, replace(first, pin=None, chance=None, evidence=False))
                self._count("coalmine_faults_total", "state")
                return
            self.pins.put(key, proposed if code is None else code, since)
            if code is None:
                turn.known = proposed
                self._take(turn, plan, first)
                self._began(turn, first)
                return
        await self._held(turn, code, plan, up, silence)

    async def _by_alias(self, turn: Turn, plan: RoutingPlan, up: Up, silence: float) -> None:
        key = next((k for a in turn.aliases if (k := self.aliases.get(a)) is not None), None)
        code = self.pins.get(key) if key is not None else None
        if code is None:
            if turn.stale:
                self._unrecognised(turn, plan, "state_unreachable")
                return
            since = self.pins.forgotten
            found = await self._ask_fast(self._state().resolve, turn.aliases)
            if found is None:
                self._unrecognised(turn, plan, f"unknown_{turn.basis}")
                self._mark_old(turn, plan)
                return
            key, code = found
            for alias in turn.aliases:
                self.aliases.put(alias, key)
            self.pins.put(key, code, since)
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
        turn.pin, decision = self._known(plan, code, up)
        turn.known = code
        if turn.stale and silence > KNOWN_FOR and turn.pin.arm is Arm.CANDIDATE:
            turn.decision = _stable(plan, "the state has been out of reach for long")
            return
        if decision.pin is not None and turn.key is not None:
            wanted = decision.pin.code
            held: int | None = None
            if not await self._ask(self._state().move, turn.key, code, wanted):
                held = await self._ask(self._state().claim, turn.key, wanted)
            turn.known = wanted if held is None else held
            self.pins.put(turn.key, turn.known)
            if held is not None:
                # Another worker moved it first, and has told the client: decide with its pin.
                turn.pin, decision = self._known(plan, held, up)
        self._take(turn, plan, decision)

    def _known(self, plan: RoutingPlan, code: int, up: Up) -> tuple[Pin, Decision]:
        """Return a held pin and what the table says of it, from memory if it was asked before.

        For a conversation that holds a pin the decision depends on nothing else.
        """
        of, answers = self._answers.get(plan.service, (None, {}))
        if of is not plan:
            answers = {}
            self._answers[plan.service] = (plan, answers)
        found = answers.get((code, up.stable, up.candidate))
        if found is None:
            pin = read_pin(code, plan.era)
            found = pin, decide(plan, pin, new=False, stable_up=up.stable,
                                candidate_up=up.candidate)
            answers[code, up.stable, up.candidate] = found
        return found

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
        key, code, began = turn.key, turn.pin.code, not turn.bound
        if began:
            # One that was known before may have been moved meanwhile: then this is out of date.
            self.pins.put(key, code)
            turn.bound, turn.known = True, code
        state = self._knowledge.state
        if state is None:
            self._remember(key, aliases, None)
            return
        bound = asyncio.get_running_loop().run_in_executor(
            self._executor, self._bind_quietly, key, code, aliases, began
        )
        bound.add_done_callback(lambda done: self._remember(
            key, aliases, None if done.cancelled() else done.result()))
        if plan.phase in ROLLOUT_RUNS:
            await bound

    def _remember(self, key: bytes, aliases: tuple[bytes, ...], found: tuple[bytes, int] | None
                  ) -> None:
        """Remember where aliases lead: to what the state says, so that all workers agree.

        Two conversations of one key that begin alike, with the same answer, are one from then on.
        """
        leads = key if found is None else found[0]
        for alias in aliases:
            if self.aliases.get(alias) is None:
                self.aliases.put(alias, leads)

    def _aliases_of(self, turn: Turn) -> tuple[bytes, ...]:
        salt = self._knowledge.salt()
        aliases: tuple[bytes, ...] = ()
        if turn.kind == "responses" and turn.response_id:
            aliases += (response_alias(salt, turn.service, turn.caller,
                                       original_response_id(turn.response_id)),)
        if turn.history is not None and (turn.answer or turn.calls):
            newest = answer_text(turn.answer, turn.calls)
            history = History(turn.history.first_user, turn.history.first_answer or newest, newest)
            aliases += aliases_of(salt, turn.service, turn.caller, history)
        return aliases

    def _state(self) -> State:
        state = self._knowledge.state
        if state is None:
            raise StateError("the shared state has not been reached yet")
        return state

    def _move_quietly(self, key: bytes, known: int | None, code: int) -> None:
        try:
            if known is not None and not self._state().move(key, known, code):
                self.pins.forget(key)  # another worker has moved it, who knows where to
        except StateError as error:
            self._count("coalmine_faults_total", "state")
            log.warning("a conversation's move could not be written: %s", error.message)

    def _bind_quietly(self, key: bytes, code: int, aliases: tuple[bytes, ...], began: bool
                      ) -> tuple[bytes, int] | None:
        """Bind; for a conversation that began return where its aliases lead now."""
        try:
            self._patient()
            self._state().bind(key, code, aliases)
            return self._state().resolve(aliases) if began else None
        except StateError as error:
            self._failed = self._mono()
            self._count("coalmine_faults_total", "state")
            log.debug("a conversation could not be kept: %s", error.message)
            return None


def _stable(plan: RoutingPlan, rule: str) -> Decision:
    """Stable, and nothing else."""
    return Decision(arm=Arm.STABLE, release=plan.stable, rule=rule)


__all__ = ["Assigner", "Knowledge", "Up"]
