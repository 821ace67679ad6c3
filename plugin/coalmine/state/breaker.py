"""A half-open circuit breaker: a hung server costs one deadline, not one for each call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from coalmine.state.errors import StateError, StateRefused, StateUnreachable

log = logging.getLogger("coalmine.state")

EVERY = 0.1
EVERY_REFUSED = 2.0
"""Seconds between two probes; a server that refuses us is not asked as often."""

JOIN = 0.5
"""Seconds that a close waits for a probe."""


class Breaker:
    """After a failure all calls fail at once until a probe in the background succeeds.

    Args:
        probe: asks the server; bounded in time; raises a StateError while it is not well.
    """

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._error: StateError | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def check(self) -> None:
        """Raise what is wrong while something is."""
        error = self._error
        if error is not None:
            thread = self._thread
            if thread is None or not thread.is_alive():
                self._start()
            raise type(error)(error.message, error.hint)

    def trip(self, error: StateError) -> None:
        """Let all calls fail with `error`, and start probing."""
        with self._lock:
            first, self._error = self._error is None, error
        if first:
            log.warning("the state is out of reach: %s", error)
        self._start()

    def _start(self) -> None:
        with self._lock:
            # Threads do not survive a fork, and one that could not be started never lived.
            alive = self._thread is not None and self._thread.is_alive()
            if alive or self._error is None or self._stop.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="coalmine-probe", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # the system has no thread left; the next call tries
                log.error("whether the state is back cannot be asked: %s", error)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._probe()
            except StateError as error:
                if isinstance(error, StateRefused) and not isinstance(self._error, StateRefused):
                    log.error("the state cannot be used: %s", error)
                self._error = error
                self._stop.wait(EVERY_REFUSED if isinstance(error, StateRefused) else EVERY)
            except Exception:
                # A probe that ends would leave the state out of reach for good.
                log.exception("whether the state is back could not be asked")
                self._stop.wait(EVERY_REFUSED)
            else:
                with self._lock:
                    self._error = self._thread = None
                log.warning("the state is back")
                return

    def close(self) -> None:
        """Stop probing; calls fail from now on."""
        self._stop.set()
        thread = self._thread
        self._error = StateUnreachable("the state was closed", "the gateway is stopping")
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN)
            self._error = StateUnreachable("the state was closed", "the gateway is stopping")
