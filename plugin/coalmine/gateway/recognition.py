"""Recognising a conversation without an id: where the aliases of its turns lead.

An alias is a hash of what a client sends again: of the history, or of a response's id. See
:mod:`coalmine.gateway.identity` for which there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from coalmine.gateway.identity import aliases_of, original_response_id
from coalmine.gateway.knowledge import Knowledge, reached
from coalmine.gateway.known_pins import KnownPins
from coalmine.gateway.memory import Memory
from coalmine.gateway.patience import LONGEST, Patience
from coalmine.gateway.turns import Turn
from coalmine.routing import ROLLOUT_RUNS, RoutingPlan
from coalmine.routing.history import History, answer_text
from coalmine.routing.keys import response_alias
from coalmine.state import StateError

log = logging.getLogger("coalmine.recognition")


class Recognition:
    """Remembers aliases, and keeps those of each answer in the shared state.

    Args:
        knowledge: state and salt.
        pins, aliases: what is remembered of conversations.
        patience: asks the state.
        count: adds to a counter (metric, labels …).
        executor: where answers are kept.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        pins: KnownPins,
        aliases: Memory[bytes, bytes],
        patience: Patience,
        count: Callable[..., None],
        executor: Executor,
    ) -> None:
        self._knowledge = knowledge
        self._pins = pins
        self._aliases = aliases
        self._patience = patience
        self._count = count
        self._executor = executor

    def remembered(self, aliases: tuple[bytes, ...]) -> bytes | None:
        """Return the key of the conversation that one of the aliases is known to lead to."""
        return next((key for a in aliases if (key := self._aliases.get(a)) is not None), None)

    async def look_up(self, aliases: tuple[bytes, ...]) -> tuple[bytes, int] | None:
        """Ask the state for the conversation, and remember it; return key and pin."""
        since = self._pins.forgotten
        found = await self._patience.ask_fast(reached(self._knowledge).resolve, aliases)
        if found is not None:
            key, code = found
            for alias in aliases:
                self._aliases.put(alias, key)
            self._pins.put(key, code, since)
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
            self._pins.put(key, code)
            turn.bound, turn.known = True, code
        if self._knowledge.state is None:
            self._remember(key, aliases, None)
            return
        bound = asyncio.get_running_loop().run_in_executor(
            self._executor, self._bind, key, code, aliases, began
        )
        bound.add_done_callback(lambda done: self._remember(
            key, aliases, None if done.cancelled() else done.result()))
        if plan.phase in ROLLOUT_RUNS:
            await asyncio.wait([bound], timeout=LONGEST)

    def _aliases_of(self, turn: Turn) -> tuple[bytes, ...]:
        aliases: tuple[bytes, ...] = ()
        if turn.kind == "responses" and turn.response_id:
            aliases += (response_alias(self._knowledge.salt(), turn.service, turn.caller,
                                       original_response_id(turn.response_id)),)
        if turn.history is not None and (turn.answer or turn.calls):
            newest = answer_text(turn.answer, turn.calls)
            history = History(turn.history.first_user, turn.history.first_answer or newest, newest)
            aliases += aliases_of(self._knowledge.salt(), turn.service, turn.caller, history)
        return aliases

    def _bind(self, key: bytes, code: int, aliases: tuple[bytes, ...], began: bool
              ) -> tuple[bytes, int] | None:
        """Bind; for a conversation that began return where its aliases lead now. Never raises."""
        try:
            state = reached(self._knowledge)
            self._patience.ask_here(state.bind, key, code, aliases)
            return self._patience.ask_here(state.resolve, aliases) if began else None
        except StateError as error:
            self._count("coalmine_faults_total", "state")
            log.debug("a conversation could not be kept: %s", error.message)
            return None

    def _remember(self, key: bytes, aliases: tuple[bytes, ...], found: tuple[bytes, int] | None
                  ) -> None:
        """Remember where aliases lead: to what the state says, so that all workers agree.

        Two conversations of one key that begin alike, with the same answer, are one from then on.
        """
        leads = key if found is None else found[0]
        for alias in aliases:
            if self._aliases.get(alias) is None:
                self._aliases.put(alias, leads)
