"""The follower: keeps a worker's plans equal to the shared state.

A thread of its own. It is woken by the state's bell, re-reads on every ring, and looks anyway
twice a second. It says that the worker lives and which epochs it applies, and keeps the last
snapshot beside the process, for a start without the state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coalmine.gateway import mend
from coalmine.gateway.in_force import InForce, Rules
from coalmine.gateway.knowledge import StateUnused
from coalmine.gateway.snapshot import Kept, Snapshot
from coalmine.release import CoalmineError
from coalmine.rollout.policy import Policy
from coalmine.rollout.service import Service
from coalmine.routing import BACK
from coalmine.routing.keys import hidden
from coalmine.state import Beat, Entry, State, StateError

log = logging.getLogger("coalmine.follower")

POLL = 0.5
"""Seconds between two looks at the state when the bell is silent."""

JOIN = 1.0
"""Seconds that a stop waits for the thread."""


class Follower:
    """What a worker knows of the services.

    Args:
        worker: this worker's id.
        gateway: its gateway's name.
        connect: opens the shared state.
        policy: returns the policy in force.
        snapshot: file in which the last services are kept, None to keep none.
        in_flight: returns open requests by ``service/release``.
        on_moves: called with keys that others moved, or None to forget all.
        tick: called about twice a second.
        wall: wall clock, unix seconds; mono: monotonic seconds.

    Attributes:
        state: the shared state, None before it was ever reached.
        unused: why the shared state is not used, None where it is at least looked for.
        plan: returns the plan in force for a service, None for one that nobody knows.
    """

    def __init__(
        self,
        worker: str,
        gateway: str,
        *,
        connect: Callable[[], State],
        policy: Callable[[], Policy | None],
        snapshot: Path | None,
        in_flight: Callable[[], dict[str, int]],
        on_moves: Callable[[list[bytes] | None], None],
        tick: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._gateway = gateway
        self._connect = connect
        self._policy = policy
        self._snapshot = Snapshot(snapshot, worker)
        self._in_flight = in_flight
        self._on_moves = on_moves
        self._tick = tick
        self._wall = wall
        self._mono = mono
        self.state: State | None = None
        self.unused: StateUnused | None = None
        self._salt: bytes | None = None
        self._boot_installation: str | None = None
        self._in_force = InForce(self._rules, wall)
        self.plan = self._in_force.plan  # each request asks several times: no call in between
        self._generation = -1
        self._complaint = ""
        self._heard = float("-inf")
        self._moves = -1
        self._connecting = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coalmine-follower", daemon=True)

    # read by the event loop ------------------------------------------------------------------

    def service(self, name: str) -> Service | None:
        """The state of a service as this worker knows it: until the state was heard of, what the
        last snapshot says, of which only stable is served."""
        return self._in_force.service(name)

    @property
    def services(self) -> Mapping[str, Service]:
        """All services as this worker knows them."""
        return self._in_force.services

    @property
    def applied(self) -> Mapping[str, Service]:
        """The services that the shared state holds, as this worker applies them."""
        return self._in_force.applied

    def names(self) -> frozenset[str]:
        """Names of all services: of the policy, the state and the last snapshot."""
        return frozenset((*self._rules(), *self._in_force.services))

    def silence(self) -> float:
        """Seconds since the state was last heard of."""
        return self._mono() - self._heard

    def salt(self) -> bytes:
        """The installation's salt; a fixed one until the state has been reached."""
        return self._salt or b"coalmine"

    def outdated(self) -> bool:
        """Whether the state is known to have changed since the plans were read. Cheap."""
        state = self.state
        return state is not None and state.generation() != self._generation

    # changes ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the snapshot, try the state once, and start the thread."""
        self.boot()
        self.refresh()
        self._thread.start()

    def boot(self) -> None:
        """Serve what the last snapshot names as stable, until the state is heard of."""
        kept = self._snapshot.read()
        self._boot_installation = kept.installation
        self._in_force.boot(kept.services)
        for name, entry in kept.pending.items():
            # A rollback that was asked of this host, and that nobody else knows of yet.
            service = kept.services.get(name)
            if service is not None and service.phase in BACK:
                self.apply_first(service, entry)

    def stop(self) -> None:
        """End the thread, say that this worker is gone, and close the state."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN)
        if self.state is not None:
            try:
                self.state.gone(self._worker)
            except StateError as error:
                log.debug("the others find out by themselves: %s", error)
            finally:
                self.state.close()

    def apply_first(self, service: Service, entry: Entry) -> None:
        """Apply a rollback here before it is written; it is written as soon as that is possible."""
        self._in_force.apply_first(service, entry)
        self._keep()

    def written(self, name: str) -> None:
        """The rollback that was applied first has been written."""
        if self._in_force.written(name):
            self._keep()

    def refresh(self) -> None:
        """Read the state now, in the caller's thread. No error of the state leaves it."""
        generation = self._generation
        try:
            state = self._connected()
            self._follow_salt(state)
            generation = state.generation()
            found = state.load()
            mend.give_birth(state, found, self._rules(), self._in_force.seen, self._wall())
            changed, lost = self._in_force.take(found)
            self._generation = generation
            self._heard = self._mono()
            for service in lost:
                mend.reseed(state, service, self._wall())
            put_back = {service.name for service in lost}
            for name, (service, entry) in list(self._in_force.pending.items()):
                theirs = found.get(name)
                if theirs is None or name in put_back:
                    continue  # whether it is there now, the next look tells
                if mend.write_rollback(state, theirs, service, entry):
                    self.written(name)
            if changed:
                self._keep()
            self._follow_moves(state)
        except StateUnused as error:
            # What is wrong with the policy has been logged where it was read.
            self.unused = error
            return
        except CoalmineError as error:  # also a policy that names a variable that is not set
            self.unused = None
            # One failure is not repeated by each request; the poll looks again.
            self._generation = generation
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("the shared state is not used: %s", error)
            return
        self.unused, self._complaint = None, ""

    # ---------------------------------------------------------------------------------------------

    def _rules(self) -> Rules:
        policy = self._policy()
        return policy.services if policy else {}

    def _keep(self) -> None:
        """Keep what is in force in the snapshot."""
        self._snapshot.write(lambda: Kept(
            _installation(self._salt) or self._boot_installation,
            self._in_force.services,
            {name: entry for name, (_, entry) in list(self._in_force.pending.items())},
        ))

    def _connected(self) -> State:
        """Return the shared state, opened at the first call."""
        with self._connecting:
            if self.state is None:
                state = self._connect()
                try:
                    self._salt = state.salt()
                    # Before any pin is known: what is moved from now on will be told.
                    self._moves = state.moved_since(-1)[0]  # type: ignore[index]
                except CoalmineError:
                    state.close()
                    raise
                if self._boot_installation == _installation(self._salt):
                    # What this host has seen is not forgotten by a restart.
                    self._in_force.trust_boot()
                self.state = state
            return self.state

    def _follow_salt(self, state: State) -> None:
        """Take the state's salt again: a state that came back empty has another.

        Conversations are known by it, so all workers must have the same. Pins went with the old.
        """
        salt = state.salt()
        if salt != self._salt:
            log.warning("the shared state came back empty: all conversations begin anew")
            self._salt = salt
            self._keep()
            self._on_moves(None)

    def _follow_moves(self, state: State) -> None:
        found = state.moved_since(self._moves)
        if found is None:
            # The new cursor first: what is moved while all is forgotten will be told again.
            self._moves = state.moved_since(-1)[0]  # type: ignore[index]
            self._on_moves(None)
            return
        self._moves, keys = found
        if keys:
            self._on_moves(keys)

    def _run(self) -> None:
        bell = None
        beaten = 0.0
        epochs: dict[str, int] = {}
        while not self._stop.is_set():
            rang = False
            try:
                if bell is None and self.state is not None:
                    bell = self.state.bell(self._worker)
                rang = bell.wait(POLL) if bell is not None else self._stop.wait(POLL)
            except StateError as error:
                log.warning("no bell, looking twice a second: %s", error)
                self._stop.wait(POLL)
            self._safely(self.refresh)
            self._safely(self._tick)
            now = {name: service.epoch for name, service in self._in_force.applied.items()}
            if now != epochs or time.monotonic() - beaten >= POLL or not rang:
                epochs, beaten = now, time.monotonic()
                self._safely(self._beat, now)
        if bell is not None:
            bell.close()

    def _safely(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call it; a fault of ours is logged. A worker that follows no more misses rollbacks."""
        try:
            call(*arguments)
        except Exception:
            log.exception("the follower goes on")

    def _beat(self, epochs: dict[str, int]) -> None:
        if self.state is None:
            return
        try:
            self.state.beat(Beat(self._worker, self._gateway, epochs, self._in_flight(),
                                 dict(self._in_force.applied_at)))
        except StateError as error:
            log.debug("no beat: %s", error)


def _installation(salt: bytes | None) -> str | None:
    """Return what tells one shared state from another, and nothing about its salt."""
    return hidden(salt, "installation") if salt else None
