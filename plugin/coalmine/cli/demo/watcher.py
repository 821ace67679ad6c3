"""Looks at the service through the API, again and again, and remembers when what was so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from coalmine.cli.client import Client, ClientError, Json
from coalmine.cli.demo.plan import SERVICE
from coalmine.cli.figures import moment, number

USUAL, CLOSE = 0.25, 0.02
"""Seconds between two looks."""


class Watcher:
    """The service as it is now, and when each worker was first seen to apply an epoch.

    Args:
        client: of the API.
        on_look: called with the service after every look.
        check: called after a look that failed; raises when nothing is to be hoped for.
    """

    def __init__(self, client: Client, on_look: Callable[[Json], None],
                 check: Callable[[], None]) -> None:
        self.service: Json = {}
        self._client = client
        self._on_look = on_look
        self._check = check
        self._every = USUAL
        self._applied: dict[str, dict[int, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def closely(self, close: bool) -> None:
        """Look fifty times a second, or as usual again."""
        self._every = CLOSE if close else USUAL

    async def until(self, seen: Callable[[Json], bool], seconds: float) -> bool:
        """Wait until a look shows what is waited for; False when it does not within `seconds`."""
        deadline = time.monotonic() + seconds
        while not (self.service and seen(self.service)):
            if self._task is not None and self._task.done():
                self._task.result()
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(CLOSE)
        return True

    def applied_by_all(self, epoch: int) -> float | None:
        """When the last worker applied `epoch` or a later one; None when one did not."""
        workers = self.service.get("workers") or []
        firsts = [
            min((at for of, at in self._applied.get(str(worker.get("id")), {}).items()
                 if of >= epoch), default=None)
            for worker in workers
        ]
        known = [at for at in firsts if at is not None]
        return max(known) if known and len(known) == len(firsts) else None

    async def _run(self) -> None:
        while True:
            try:
                self.service = await asyncio.to_thread(self._client.service, SERVICE)
            except ClientError:
                self._check()
            else:
                self._note(self.service, time.time())
                self._on_look(self.service)
            await asyncio.sleep(self._every)

    def _note(self, service: Json, now: float) -> None:
        """A worker says when it told its epoch; a look can only be later than that."""
        for worker in service.get("workers") or []:
            epoch = number(worker.get("epoch"))
            if epoch is None:
                continue
            at = min(now, _told_at(worker.get("seen"), now))
            self._applied.setdefault(str(worker.get("id")), {}).setdefault(int(epoch), at)


def _told_at(seen: object, now: float) -> float:
    """When a worker last said what it applies: a moment, or how many seconds ago that was."""
    ago = number(seen)
    if ago is not None:
        return now - ago
    at = moment(seen)
    return at.timestamp() if at is not None else now


def everywhere(service: Json) -> bool:
    """Whether the service is on its way back and every worker knows it."""
    return service.get("phase") in ("rolling_back", "rolled_back") and all(
        (number(worker.get("epoch")) or 0) >= (number(service.get("epoch")) or 0)
        for worker in service.get("workers") or []
    )
