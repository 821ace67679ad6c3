"""The collector: takes ended attempts from the hot path and ships them to the shared state.

The hot path only appends to a list. A thread turns attempts into totals and ships both in one
numbered batch, at once when a failure that is evidence is in it, else every 200 ms. A batch whose
fate is doubtful is shipped again under the same number, so it counts once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from coalmine.gateway.outbox import Outbox, adopt
from coalmine.gateway.totals import SEPARATOR, series, totals_of
from coalmine.guardrails import Attempt, Outcome, from_row, to_row
from coalmine.routing import Arm
from coalmine.state import Batch, State, StateError

log = logging.getLogger("coalmine.collector")

EVERY = 0.2
"""Seconds between two batches when nothing is urgent."""

BATCH = 500
"""Attempts in a batch at most."""

KEPT = 50_000
"""Attempts kept at most while the state is out of reach; beyond it the oldest are dropped and
counted."""

TOGETHER = 0.02
"""Seconds between two urgent batches: what fails within them goes together, so that a storm of
failures does not ring everybody's bell for each."""

TEXT = 256
"""Characters of a name that are kept."""

ADOPT = 2.0
"""Seconds between two looks for what dead workers left behind."""

JOIN = 1.0
"""Seconds that a stop waits for what is being shipped."""

DROPPED = 0
"""In place of a name: there is nothing of which more could be told."""


def _open(folder: Path | None, worker: str, gateway: str, number: int = 0) -> Outbox | None:
    if folder is None:
        return None
    try:
        return Outbox(folder, worker, gateway, number)
    except OSError as error:
        log.warning("no outbox, a killed worker would lose what it has not shipped: %s", error)
        return None


class Collector:
    """Attempts and counts on their way to the shared state.

    Args:
        worker: this worker's id.
        gateway: its gateway's name.
        state: returns the shared state, None while there is none.
        outboxes: folder of the gateway's outboxes, None to keep attempts in memory only.
        record: takes each batch's attempts to record them; never waits or raises. What a dead
            worker left behind is not among them.
    """

    def __init__(
        self,
        worker: str,
        gateway: str,
        state: Callable[[], State | None],
        outboxes: Path | None = None,
        record: Callable[[Sequence[Attempt]], None] | None = None,
    ) -> None:
        self._worker = worker
        self._gateway = gateway
        self._state = state
        self._attempts: list[tuple[int, Attempt]] = []
        self._names = 0
        self._untold: set[int] = set()
        self._record = record
        self._outboxes = outboxes
        self._outbox = _open(outboxes, worker, gateway)
        self._given_up = False
        self._stopped = False
        self._adopted = 0.0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._urgent = False
        self._stop = threading.Event()
        self._number = 0
        self._doubtful: tuple[Batch, bool] | None = None
        self._thread = threading.Thread(target=self._run, name="coalmine-collector", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ship what is left, once, and end the thread. Again, or before a start, it does no harm.

        What could not be shipped stays in the outbox, and what comes later goes there too. It is
        left open: with the process its lock ends, and another worker adopts it.
        """
        end = time.monotonic() + JOIN
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN)
        # Who ships holds this; what he has taken is not among the attempts, and not yet kept.
        idle = self._flushing.acquire(timeout=max(0.0, end - time.monotonic()))
        try:
            with self._adding:
                self._stopped = True
                self._end_outbox(done=idle and not self._thread.is_alive())
        finally:
            if idle:
                self._flushing.release()

    def _end_outbox(self, *, done: bool) -> None:
        """Take the outbox away unless something still waits. Under `_adding`.

        Args:
            done: nobody ships any more.
        """
        doubtful, outbox = self._doubtful, self._outbox
        waiting = len(self._attempts) + len(self._untold)
        if doubtful is not None:
            waiting += len(doubtful[0].attempts)
        if done and not waiting:
            self._outbox = None
            if outbox is not None:
                outbox.close(empty=True)
        elif waiting and outbox is not None:
            log.info("%d attempts are left to another worker in %s", waiting, outbox.path)
        elif waiting:
            log.warning("%d attempts could not be shipped, and there is no outbox", waiting)

    def wait(self, attempt: Attempt) -> int:
        """Take note of an ended attempt of which more will be told; return its name.

        :meth:`add` or :meth:`void` follow. If this worker dies before, it is shipped as it is.
        One that cannot be kept is counted as dropped: its name is :data:`DROPPED`.
        """
        with self._adding:
            if self._stopped and self._outbox is None:
                self._outbox = _open(self._outboxes, self._worker, self._gateway, self._number)
                if self._outbox is None:
                    log.warning("an attempt that ended after the stop is lost: no outbox")
                    return self._drop("stopped")
            self._names += 1
            if self._outbox is not None:
                try:  # as _tell does, without a call more: each request comes by here
                    self._outbox.attempt(self._names, to_row(_fit(attempt)))
                except OSError as error:
                    self._give_up_outbox(f"it cannot be written: {error}")
                except TypeError:  # no JSON: the state could not keep it either, nor its batch
                    log.exception("an attempt that cannot be written is dropped")
                    return self._drop("malformed")
            self._untold.add(self._names)
            return self._names

    def _drop(self, reason: str) -> int:
        self.count("coalmine_dropped_total", reason)
        return DROPPED

    def void(self, waited: int) -> None:
        """Forget one that waited: it was no attempt after all."""
        if waited == DROPPED:
            return
        with self._adding:
            self._untold.discard(waited)
            self._tell(lambda outbox: outbox.void(waited))

    def add(self, attempt: Attempt, waited: int | None = None) -> None:
        """Take an ended attempt, in the place of the one that `waited`."""
        name = self.wait(attempt) if waited is None else waited
        if name == DROPPED:
            return
        with self._adding:
            self._untold.discard(name)
            self._attempts.append((name, attempt))
        if attempt.failed and attempt.arm is Arm.CANDIDATE:
            self._urgent = True
            self._wake.set()
        elif attempt.failed and attempt.evidence:
            # Stable's failures as fast as the candidate's, or an incident that hits both would look
            # for a moment like one of the candidate's.
            self._wake.set()

    def count(self, metric: str, *labels: str, times: float = 1.0) -> None:
        """Add to one of the counters of :data:`coalmine.gateway.totals.LABELS`."""
        with self._lock:
            name = series(metric, *labels)
            self._counts[name] += times  # type: ignore[assignment]

    def _run(self) -> None:
        while not self._stop.is_set():
            woken = self._wake.wait(EVERY)
            self._wake.clear()
            urgent, self._urgent = self._urgent, False
            self.flush(urgent)
            if woken:
                self._stop.wait(TOGETHER)
        self.flush(False)

    def flush(self, urgent: bool) -> None:
        """Ship what is there. Never raises; what cannot be shipped is kept for the next time.

        The collector's thread and whoever reads the metrics may come at once: they take turns, or
        a batch could be kept after a later one, which the state would take for shipped already.
        """
        with self._flushing:
            state = self._state()
            if state is None:
                self._cap()
                return
            try:
                self._ship(state, urgent)
                self._tidy()
                self._adopt(state)
            except StateError as error:
                log.warning("attempts could not be shipped, they are kept: %s", error)
                self._cap()
            except Exception:
                # A batch that no state can keep would hold up all that come after it.
                log.exception("attempts could not be shipped")
                self._drop_doubtful()

    def _ship(self, state: State, urgent: bool) -> None:
        if self._doubtful is not None:
            batch, was_urgent = self._doubtful
            state.ship(batch, urgent=was_urgent or urgent)
            self._doubtful = None
        full = True
        while full and (self._attempts or self._counts):
            batch = self._next()
            # What comes while we ship waits for the next time, or there would be no end to it.
            full = len(batch.attempts) == BATCH
            self._doubtful = (batch, urgent)
            state.ship(batch, urgent=urgent)
            self._doubtful = None

    def _drop_doubtful(self) -> None:
        if self._doubtful is not None:
            dropped, self._doubtful = len(self._doubtful[0].attempts), None
            self.count("coalmine_dropped_total", "malformed", times=dropped)

    def _next(self) -> Batch:
        with self._adding:
            taken = self._attempts[:BATCH]
            del self._attempts[:len(taken)]
            self._number += 1
            self._tell(lambda outbox: outbox.batch(self._number, [name for name, _ in taken]))
        with self._lock:
            counts, self._counts = self._counts, Counter()
        ended = [_fit(attempt) for _, attempt in taken]
        if self._record is not None:
            self._record(ended)
        totals = totals_of(ended)
        for series_name, value in counts.items():
            name = _sayable(series_name)
            totals[name] = totals.get(name, 0.0) + value
        return Batch(self._worker, self._gateway, self._number,
                     tuple(map(to_row, ended)), totals)

    def _tidy(self) -> None:
        """Begin the outbox anew when all in it was shipped, also one that was given up."""
        with self._adding:
            if self._attempts or self._untold:
                return
            if self._given_up:
                self._given_up = False
                self._outbox = _open(self._outboxes, self._worker, self._gateway, self._number)
            else:
                self._tell(lambda outbox: outbox.clear(self._number))

    def _tell(self, write: Callable[[Outbox], None]) -> None:
        """Write into the outbox, if there is one; if that fails go on without. Under `_adding`."""
        if self._outbox is not None:
            try:
                write(self._outbox)
            except OSError as error:
                self._give_up_outbox(f"it cannot be written: {error}")

    def _give_up_outbox(self, why: str) -> None:
        """Go on without the outbox, until all that waits was shipped. Under `_adding`."""
        outbox, self._outbox = self._outbox, None
        self._given_up = outbox is not None or self._given_up
        if outbox is not None:
            log.warning("no outbox, a killed worker would lose what it has not shipped: %s", why)
            with suppress(OSError):
                outbox.close(empty=True)

    def _adopt(self, state: State) -> None:
        """Ship what dead workers of this gateway left behind."""
        now = time.monotonic()
        if self._outboxes is None or self._outbox is None or now - self._adopted < ADOPT:
            return
        self._adopted = now

        def ship(batch: Batch) -> None:
            totals = totals_of(from_row(row) for row in batch.attempts)
            state.ship(replace(batch, totals=totals))

        adopted = adopt(self._outboxes, self._outbox.path, ship)
        if adopted:
            log.info("%d attempts of dead workers were shipped", adopted)

    def _cap(self) -> None:
        with self._adding:
            if len(self._attempts) > KEPT:  # what only waits is told again, or by its end
                self._attempts = [(name, attempt) for name, attempt in self._attempts
                                  if attempt.outcome is not Outcome.WAITING]
            surplus = len(self._attempts) - KEPT
            if surplus <= 0:
                return
            del self._attempts[:surplus]
            # Its lines no longer match, and it must not grow for as long as the state is away.
            self._give_up_outbox("too much waits for the state")
        self.count("coalmine_dropped_total", "state_unreachable", times=surplus)


def _fit(attempt: Attempt) -> Attempt:
    """Return the attempt with texts that any state can keep.

    Names are the client's and the configuration's words: of any length, and with halves of
    characters in them, for which the whole batch would be refused. Its hashes are our own.
    """
    texts = f"{attempt.service}{attempt.release}{attempt.deployment}{attempt.alias}"
    if len(texts) <= TEXT and texts.isascii() and SEPARATOR not in texts:
        return attempt
    return replace(
        attempt, service=_fitting(attempt.service), release=_fitting(attempt.release),
        deployment=_fitting(attempt.deployment), alias=_fitting(attempt.alias),
    )


def _fitting(text: str) -> str:
    return _sayable(text[:TEXT]).replace(SEPARATOR, "?")


def _sayable(text: str) -> str:
    """Return a text without halves of characters, which no state takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
