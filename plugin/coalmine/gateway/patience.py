"""Asking the shared state with patience: one that does not answer is left alone for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from coalmine.state import StateBusy, StateError, StateUnreachable

T = TypeVar("T")

LONGEST = 0.5
"""Seconds that a turn waits for an answer, with its place in the queue of the threads: twice what a
state may take. One that is slow and never fails would else make requests wait for each other."""

PATIENCE = 1.0
"""Seconds between two questions to a state that does not answer. A question may take as long as the
state's deadline, and there are few threads for them: without this every request would wait."""


class NotAsked(StateUnreachable):
    """The state was not asked at all, as it has just failed to answer."""


class Patience:
    """Asks questions, which are calls of the state. All raise StateError when it does not answer,
    and at once when it has just failed to.

    Args:
        executor: where questions are asked that may have to wait.
        mono: monotonic seconds.
    """

    def __init__(self, executor: Executor, mono: Callable[[], float]) -> None:
        self._executor = executor
        self._mono = mono
        self._failed = float("-inf")

    async def ask(self, question: Callable[..., T], *arguments: object) -> T:
        """Ask in a thread."""
        self._check()
        asked = asyncio.get_running_loop().run_in_executor(
            self._executor, self.ask_here, question, *arguments)
        try:
            return await asyncio.wait_for(asked, LONGEST)
        except asyncio.TimeoutError:
            self._failed = self._mono()
            raise StateUnreachable(f"the state took longer than {LONGEST:g} s") from None

    async def ask_fast(self, question: Callable[..., T], *arguments: object) -> T:
        """Ask what a state answers at once as a rule; in a thread when it would have to wait."""
        self._check()
        try:
            return question(*arguments, wait=False)
        except StateBusy:
            return await self.ask(question, *arguments)
        except StateError:
            self._failed = self._mono()
            raise

    def ask_here(self, question: Callable[..., T], *arguments: object) -> T:
        """Ask in the caller's thread."""
        self._check()  # it may have failed while we stood in the queue
        try:
            return question(*arguments)
        except StateError:
            self._failed = self._mono()
            raise

    def _check(self) -> None:
        if self._mono() - self._failed < PATIENCE:
            raise NotAsked("the state did not answer a moment ago")
