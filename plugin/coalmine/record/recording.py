"""The recording: ended attempts on their way from a gateway's worker into files of events.

A thread of its own writes, so that a slow disk holds up nothing else. Attempts come almost in time
order: one waits up to three seconds for LiteLLM's log event. So each is held for :data:`HELD`
seconds and sorted; a killed worker loses that much, as its figures do not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from coalmine.guardrails import Attempt
from coalmine.record.event_files import EventFiles, Place
from coalmine.record.events import RECORDED, to_event
from coalmine.record.json_lines import to_line

log = logging.getLogger("coalmine.recording")

EVERY = 1.0
"""Seconds between two writes."""

HELD = 5.0
"""Seconds for which an attempt waits for older ones that are told later."""

KEPT = 50_000
"""Attempts held at most while the disk is slow; what comes then is dropped and counted."""

TOGETHER = 500
"""Events in one write."""

JOIN = 0.15
"""Seconds that a stop waits for the last write; a slower one goes on while others stop."""


class Recording:
    """One worker's recording.

    Args:
        worker: this worker's id.
        place: returns where to record, None for nowhere; asked again all the time, so that it can
            be switched on and off.
        dropped: is told how many attempts could not be recorded.
        wall: unix seconds; mono: monotonic seconds.
    """

    def __init__(
        self,
        worker: str,
        place: Callable[[], Place | None],
        dropped: Callable[[int], None],
        wall: Callable[[], float] = time.time,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._place = place
        self._dropped = dropped
        self._wall = wall
        self._mono = mono
        self._handed: deque[tuple[float, list[Attempt]]] = deque()
        self._waiting = 0
        self._lock = threading.Lock()
        self._times: deque[tuple[float, float]] = deque()
        self._held: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._files: EventFiles | None = None
        self._failing = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Take attempts that have ended; those with an arm are recorded. Never waits or raises."""
        if self._place() is None:
            return
        ended = [attempt for attempt in attempts
                 if attempt.arm is not None and attempt.outcome in RECORDED]
        if not ended:
            return
        with self._lock:
            taken = not self._stop.is_set() and self._waiting + len(ended) <= KEPT
            if taken:
                self._handed.append((self._mono(), ended))
                self._waiting += len(ended)
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="coalmine-recording", daemon=True)
                    self._thread.start()
        if not taken:
            self._dropped(len(ended))

    def stop(self) -> None:
        """Write what is held, and end the thread. Again, or before a start, it does no harm."""
        with self._lock:
            self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN)
            if self._thread.is_alive():
                log.warning("the last events may not be recorded: the disk is slow")

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self._round(last=False)
        self._round(last=True)

    def _round(self, *, last: bool) -> None:
        try:
            self._settle_place()
            self._take()
            self._write(self._due(last=last))
            if self._files is not None:
                self._files.tidy()
                if last:
                    self._files.close()
        except Exception:
            # An attempt that cannot be written would come again and again.
            log.exception("a part of the recording is lost")
            self._held.clear()
            self._times.clear()
            with self._lock:
                lost = self._waiting - sum(len(attempts) for _, attempts in self._handed)
            self._lose(lost)

    def _settle_place(self) -> None:
        """Begin where the policy says now; what is held goes where it said before."""
        place = self._place()
        files = self._files
        if files is not None and files.place != place:
            self._take()
            self._write(self._due(last=True))
            files.close()
            self._files = None
        if self._files is None and place is not None:
            self._files = EventFiles(place, self._worker, self._wall)

    def _take(self) -> None:
        while self._handed:
            when, attempts = self._handed.popleft()
            self._times.append((when, max(attempt.at for attempt in attempts)))
            for attempt in attempts:
                try:
                    line = to_line(to_event(attempt))
                except (TypeError, ValueError):  # no JSON: a number beyond 64 bits
                    self._lose(1)
                    continue
                self._number += 1
                heappush(self._held, (attempt.at, self._number, line))

    def _due(self, *, last: bool) -> list[tuple[float, bytes]]:
        """Take what was held for long enough, and what is older than that."""
        until, now = float("-inf"), self._mono()
        while self._times and (last or now - self._times[0][0] >= HELD):
            until = max(until, self._times.popleft()[1])
        due = []
        while self._held and self._held[0][0] <= until:
            at, _, line = heappop(self._held)
            due.append((at, line))
        return due

    def _write(self, events: list[tuple[float, bytes]]) -> None:
        for first in range(0, len(events), TOGETHER):
            some = events[first:first + TOGETHER]
            try:
                if self._files is not None:
                    self._files.write(some)
            except OSError as error:
                if not self._failing:
                    log.warning("attempts are not recorded: %s", error)
                self._failing = True
                self._lose(len(some))
            else:
                if self._failing:
                    log.info("attempts are recorded again")
                self._failing = False
                with self._lock:
                    self._waiting -= len(some)

    def _lose(self, attempts: int) -> None:
        with self._lock:
            self._waiting -= attempts
        self._dropped(attempts)
