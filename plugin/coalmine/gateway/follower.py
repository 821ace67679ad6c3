"""The follower: keeps a worker's plans equal to the shared state.

A thread of its own. It is woken by the state's bell, re-reads on every ring, and looks anyway
twice a second. It says that the worker lives and which epochs it applies, and keeps the last
snapshot beside the process, for a start without the state.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from coalmine.rollout.policy import Policy
from coalmine.rollout.service import Service, first_state, routing_plan
from coalmine.routing import BACK, RoutingPlan
from coalmine.state import Beat, Entry, State, StateError

log = logging.getLogger("coalmine.follower")

POLL = 0.5
"""Seconds between two looks at the state when the bell is silent."""


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
        wall: wall clock, unix seconds.
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
    ) -> None:
        self._worker = worker
        self._gateway = gateway
        self._connect = connect
        self._policy = policy
        self._snapshot = snapshot
        self._in_flight = in_flight
        self._on_moves = on_moves
        self._tick = tick
        self._wall = wall
        self.state: State | None = None
        self._salt: bytes | None = None
        self._services: Mapping[str, Service] = {}
        self._applied: dict[str, float] = {}
        self._boot_services: Mapping[str, Service] = {}
        self._plans: Mapping[str, RoutingPlan] = {}
        self._generation = -1
        self._heard = float("-inf")
        self._pending: dict[str, tuple[Service, Entry]] = {}
        self._moves = -1
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coalmine-follower", daemon=True)

    # read by the event loop ------------------------------------------------------------------

    def plan(self, service: str) -> RoutingPlan | None:
        """The plan in force, None for a service that nobody knows."""
        return self._plans.get(service)

    def service(self, name: str) -> Service | None:
        """The state of a service as this worker applies it."""
        return self._services.get(name)

    @property
    def services(self) -> Mapping[str, Service]:
        """All services as this worker applies them."""
        return self._services

    def silence(self) -> float:
        """Seconds since the state was last heard of."""
        return time.monotonic() - self._heard

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
        self._from_snapshot()
        self._refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the state."""
        self._stop.set()
        self._thread.join(timeout=2)
        if self.state is not None:
            self.state.close()

    def refresh(self) -> None:
        """Read the state now, in the caller's thread."""
        self._refresh()

    def apply_first(self, service: Service, entry: Entry) -> None:
        """Apply a rollback here before it is written; it is written as soon as that is possible."""
        with self._lock:
            self._pending[service.name] = (service, entry)
            self._adopt({**self._services, service.name: service})

    def written(self, name: str) -> None:
        """The rollback that was applied first has been written."""
        with self._lock:
            self._pending.pop(name, None)

    def _adopt(self, services: Mapping[str, Service]) -> None:
        """Make `services` the ones in force: both maps are swapped whole."""
        policy = self._policy()
        rules = policy.services if policy else {}
        plans = {name: routing_plan(service, rules.get(name))
                 for name, service in services.items()}
        for name, service in services.items():
            known = self._services.get(name)
            if known is None or known.epoch != service.epoch:
                self._applied[name] = self._wall()
        self._services = dict(services)
        self._plans = plans

    def _newer(self, found: Mapping[str, Service]) -> tuple[dict[str, Service], list[Service]]:
        """Merge what the state says with what is applied; also return what it has lost.

        An older epoch never replaces a newer one. A pending rollback wins over anything of the
        same rollout.
        """
        merged = dict(found)
        lost = []
        for name, ours in self._services.items():
            theirs = found.get(name)
            if theirs is None:
                merged[name] = ours
                lost.append(ours)
            elif theirs.epoch < ours.epoch and name not in self._pending:
                merged[name] = ours
                lost.append(ours)
            elif (theirs.epoch == ours.epoch and ours.phase in BACK and theirs.phase not in BACK
                  and name not in self._pending):
                merged[name] = ours
                lost.append(ours)
        for name, (service, _) in self._pending.items():
            theirs = found.get(name)
            same = (theirs is not None and theirs.rollout is not None and service.rollout is not None
                    and theirs.rollout.id == service.rollout.id)
            if theirs is None or (same and theirs.phase not in BACK):
                merged[name] = service
        return merged, lost

    def _refresh(self) -> None:
        try:
            if self.state is None:
                state = self._connect()
                self._salt = state.salt()
                self.state = state
            generation = self.state.generation()
            found = self.state.load()
            self._birth(found)
            with self._lock:
                merged, lost = self._newer(found)
                changed = merged != self._services
                if changed:
                    self._adopt(merged)
                self._generation = generation
            self._heard = time.monotonic()
            for service in lost:
                self._reseed(service)
            self._retry_pending(found)
            if changed:
                self._to_snapshot()
            self._follow_moves()
        except StateError as error:
            log.warning("the shared state is out of reach: %s", error)

    def _birth(self, found: dict[str, Service]) -> None:
        """Put services there that the policy names and nobody knows yet."""
        policy = self._policy()
        state = self.state
        if policy is None or state is None:
            return
        for name, rules in policy.services.items():
            if name in found:
                continue
            now = self._wall()
            known = self._services.get(name) or self._boot_services.get(name)
            service = known or first_state(name, rules, now)
            entry = Entry(at=now, service=name, who="coalmine", action="born",
                          reason="first seen in the policy" if known is None
                          else "the state had lost it", after={"stable": service.stable})
            if state.swap(None, service, entry):
                found[name] = service
            else:
                found.update(state.load())

    def _reseed(self, service: Service) -> None:
        assert self.state is not None
        entry = Entry(at=self._wall(), service=service.name, who="coalmine", action="reseed",
                      reason=f"the state came back without epoch {service.epoch}",
                      after={"epoch": service.epoch, "phase": service.phase.value})
        if self.state.reseed(service, entry):
            log.warning("%s: the state had lost writes, epoch %d was put back", service.name,
                        service.epoch)

    def _retry_pending(self, found: Mapping[str, Service]) -> None:
        """Write the rollbacks that were applied here first."""
        assert self.state is not None
        for name, (service, entry) in list(self._pending.items()):
            theirs = found.get(name)
            if theirs is None or service.rollout is None:
                continue
            if (theirs.rollout is None or theirs.rollout.id != service.rollout.id
                    or theirs.phase in BACK):
                self.written(name)
                continue
            after = service.model_copy(update={"epoch": theirs.epoch + 1})
            if self.state.swap(theirs, after, entry):
                self.written(name)

    def _follow_moves(self) -> None:
        assert self.state is not None
        found = self.state.moved_since(self._moves)
        if found is None:
            self._moves = -1
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
            self._refresh()
            self._tick()
            now = {name: service.epoch for name, service in self._services.items()}
            if now != epochs or time.monotonic() - beaten >= POLL or not rang:
                epochs, beaten = now, time.monotonic()
                self._beat(now)
        if bell is not None:
            bell.close()

    def _beat(self, epochs: dict[str, int]) -> None:
        if self.state is None:
            return
        try:
            self.state.beat(Beat(self._worker, self._gateway, epochs, self._in_flight(),
                                 dict(self._applied)))
        except StateError as error:
            log.debug("no beat: %s", error)

    # the snapshot beside the process -----------------------------------------------------------

    def _to_snapshot(self) -> None:
        if self._snapshot is None:
            return
        text = json.dumps({name: json.loads(service.model_dump_json())
                           for name, service in self._services.items()})
        aside = self._snapshot.with_name(f"{self._snapshot.name}.{self._worker}")
        try:
            aside.write_text(text)
            aside.replace(self._snapshot)
        except OSError as error:
            log.warning("the snapshot %s could not be written: %s", self._snapshot, error)
            self._snapshot = None

    def _from_snapshot(self) -> None:
        """Serve what the last snapshot names as stable, until the state is heard of."""
        services: dict[str, Service] = {}
        if self._snapshot is not None and self._snapshot.exists():
            try:
                document = json.loads(self._snapshot.read_text())
                services = {name: Service.model_validate(kept) for name, kept in document.items()}
            except (OSError, ValueError, ValidationError) as error:
                log.warning("the snapshot %s cannot be used: %s", self._snapshot, error)
        policy = self._policy()
        for name, rules in (policy.services if policy else {}).items():
            services.setdefault(name, first_state(name, rules, self._wall()))
        # What was in progress is not known to be still: stable only, and an epoch below any.
        self._boot_services = services
        self._plans = {name: _stable_only(service, rules=policy.services.get(name)
                                          if policy else None)
                       for name, service in services.items()}


def _stable_only(service: Service, rules: object) -> RoutingPlan:
    """The plan of a worker that does not know the state: the service's stable release."""
    from dataclasses import replace

    from coalmine.routing import Phase

    plan = routing_plan(service, rules)  # type: ignore[arg-type]
    return replace(plan, epoch=0, phase=Phase.IDLE, candidate=None, weight=0)
