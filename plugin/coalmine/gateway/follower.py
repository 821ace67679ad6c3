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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from coalmine.control.log_entry import entry_of
from coalmine.release import CoalmineError
from coalmine.rollout import events as ev
from coalmine.rollout.policy import Policy
from coalmine.rollout.service import Service, first_state, routing_plan
from coalmine.rollout.transitions import Refused, apply
from coalmine.routing import BACK, Phase, RoutingPlan
from coalmine.routing.keys import hidden
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
        tick: called about twice a second.
        wall: wall clock, unix seconds; mono: monotonic seconds.
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
        self._snapshot = snapshot
        self._in_flight = in_flight
        self._on_moves = on_moves
        self._tick = tick
        self._wall = wall
        self._mono = mono
        self.state: State | None = None
        self._salt: bytes | None = None
        self._services: Mapping[str, Service] = {}
        self._applied: dict[str, float] = {}
        self._boot_services: Mapping[str, Service] = {}
        self._from_file: frozenset[str] = frozenset()
        self._boot_installation: str | None = None
        self._plans: Mapping[str, RoutingPlan] = {}
        self._generation = -1
        self._complaint = ""
        self._adopted = False
        self._heard = float("-inf")
        self._pending: dict[str, tuple[Service, Entry]] = {}
        self._moves = -1
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coalmine-follower", daemon=True)

    # read by the event loop ------------------------------------------------------------------

    def plan(self, service: str) -> RoutingPlan | None:
        """The plan in force, None for a service that nobody knows."""
        return self._plans.get(service)

    def service(self, name: str) -> Service | None:
        """The state of a service as this worker knows it: until the state was heard of, what the
        last snapshot says, of which only stable is served."""
        return self._services.get(name) or self._boot_services.get(name)

    @property
    def services(self) -> Mapping[str, Service]:
        """All services as this worker knows them."""
        return {**self._boot_services, **self._services}

    def names(self) -> frozenset[str]:
        """Names of all services: of the policy, the state and the last snapshot."""
        policy = self._policy()
        named: Iterable[str] = policy.services if policy else ()
        return frozenset((*named, *self._boot_services, *self._services))

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
        self._from_snapshot()
        self._refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the state."""
        self._stop.set()
        if self._thread.is_alive():
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
        self._to_snapshot()

    def written(self, name: str) -> None:
        """The rollback that was applied first has been written."""
        with self._lock:
            was = self._pending.pop(name, None)
        if was is not None:
            self._to_snapshot()

    def _adopt(self, services: Mapping[str, Service]) -> None:
        """Make `services` the ones in force: both maps are swapped whole."""
        self._adopted = True
        policy = self._policy()
        rules = policy.services if policy else {}
        plans = {name: routing_plan(service, rules.get(name))
                 for name, service in services.items()}
        for name, service in services.items():
            known = self._services.get(name)
            if known is None or known.epoch != service.epoch:
                self._applied[name] = self._wall()
        self._services = dict(services)
        # A service that only the snapshot knows goes on as it began.
        unheard = {name: _stable_only(service, rules.get(name))
                   for name, service in self._boot_services.items() if name not in plans}
        self._plans = {**unheard, **plans}

    def _newer(self, found: Mapping[str, Service]) -> tuple[dict[str, Service], list[Service]]:
        """Merge what the state says with what is applied; also return what it has lost.

        An older epoch never replaces a newer one. A pending rollback wins over anything of the
        same rollout.
        """
        merged = dict(found)
        lost = []
        for name, ours in self._services.items():
            theirs = found.get(name)
            waits = name in self._pending
            if theirs is None or (not waits and (
                theirs.epoch < ours.epoch
                or (theirs.epoch == ours.epoch and ours.phase in BACK and theirs.phase not in BACK)
            )):
                merged[name] = ours
                lost.append(ours)
        for name, (service, _) in self._pending.items():
            theirs = found.get(name)
            if theirs is None or _overruled(theirs, service):
                merged[name] = service
        return merged, lost

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
                    with self._lock:
                        self._services = {**self._boot_services, **self._services}
                self.state = state
            return self.state

    def _refresh(self) -> None:
        generation = self._generation
        try:
            state = self._connected()
            generation = state.generation()
            found = state.load()
            self._birth(found)
            with self._lock:
                merged, lost = self._newer(found)
                # The first time even if equal: until then the plans are the boot's, stable only.
                changed = merged != self._services or not self._adopted
                if changed:
                    self._adopt(merged)
                self._generation = generation
            self._heard = self._mono()
            for service in lost:
                self._reseed(service)
            self._retry_pending(found)
            if changed:
                self._to_snapshot()
            self._follow_moves()
        except CoalmineError as error:  # also a policy that names a variable that is not set
            # One failure is not repeated by each request; the poll looks again.
            self._generation = generation
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("the shared state is not used: %s", error)
            return
        self._complaint = ""

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
            known = self._services.get(name)
            if known is None and name in self._from_file:
                known = self._boot_services.get(name)
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
            if theirs is None or service.rollout is None or service.rollout.back is None:
                continue
            if not _overruled(theirs, service):
                self.written(name)
                continue
            event = ev.RollBack(at=entry.at, who=entry.who, reason=entry.reason,
                                trigger=service.rollout.back.trigger, to=service.stable)
            try:
                after = apply(theirs, event)
            except Refused as refused:
                log.error("%s: its rollback cannot be written: %s", name, refused)
                self.written(name)
                continue
            if self.state.swap(theirs, after, entry_of(theirs, after, event)):
                self.written(name)

    def _follow_moves(self) -> None:
        assert self.state is not None
        found = self.state.moved_since(self._moves)
        if found is None:
            # The new cursor first: what is moved while all is forgotten will be told again.
            self._moves = self.state.moved_since(-1)[0]  # type: ignore[index]
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
            self._safely(self._refresh)
            self._safely(self._tick)
            now = {name: service.epoch for name, service in self._services.items()}
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
                                 dict(self._applied)))
        except StateError as error:
            log.debug("no beat: %s", error)

    # the snapshot beside the process -----------------------------------------------------------

    def _to_snapshot(self) -> None:
        if self._snapshot is None:
            return
        with self._writing:
            document = {
                "installation": _installation(self._salt) or self._boot_installation,
                "services": {name: json.loads(service.model_dump_json())
                             for name, service in self.services.items()},
                "pending": {name: asdict(entry)
                            for name, (_, entry) in list(self._pending.items())},
            }
            aside = self._snapshot.with_name(f"{self._snapshot.name}.{self._worker}")
            try:
                aside.write_text(json.dumps(document), encoding="utf-8")
                aside.replace(self._snapshot)
            except OSError as error:
                log.warning("the snapshot %s could not be written: %s", self._snapshot, error)

    def _from_snapshot(self) -> None:
        """Serve what the last snapshot names as stable, until the state is heard of."""
        services, pending = self._read_snapshot()
        self._from_file = frozenset(services)
        policy = self._policy()
        rules = policy.services if policy else {}
        for name in rules:
            services.setdefault(name, first_state(name, rules[name], self._wall()))
        # What was in progress is not known to be still: stable only, and an epoch below any.
        self._boot_services = services
        self._plans = {name: _stable_only(service, rules.get(name))
                       for name, service in services.items()}
        for name, entry in pending.items():
            # A rollback that was asked of this host, and that nobody else knows of yet.
            if name in services and services[name].phase in BACK:
                self.apply_first(services[name], entry)

    def _read_snapshot(self) -> tuple[dict[str, Service], dict[str, Entry]]:
        """Return services and pending rollbacks; what cannot be read of them is left out."""
        services: dict[str, Service] = {}
        pending: dict[str, Entry] = {}
        if self._snapshot is None or not self._snapshot.exists():
            return services, pending
        try:
            document = json.loads(self._snapshot.read_text(encoding="utf-8"))
            kept = dict(document["services"])
            installation = document.get("installation")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the snapshot %s cannot be used: %s", self._snapshot, error)
            return services, pending
        self._boot_installation = installation if isinstance(installation, str) else None
        for name, written in kept.items():
            try:
                services[name] = Service.model_validate(written)
            except ValidationError as error:
                log.warning("%s cannot be used of the snapshot %s: %s", name, self._snapshot, error)
        try:
            pending = {name: Entry(**entry) for name, entry in document["pending"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            log.warning("the rollbacks in %s cannot be read: %s", self._snapshot, error)
        return services, pending


def _installation(salt: bytes | None) -> str | None:
    """Return what tells one shared state from another, and nothing about its salt."""
    return hidden(salt, "installation") if salt else None


def _overruled(theirs: Service, rolled_back: Service) -> bool:
    """Whether a pending rollback wins over `theirs`: over anything of the same rollout."""
    ours = rolled_back.rollout
    if ours is None:
        return False
    if theirs.rollout is not None:
        return theirs.rollout.id == ours.id and theirs.phase not in BACK
    # The same rollout was promoted meanwhile by those who did not know.
    return (theirs.phase is Phase.IDLE and theirs.rollouts == rolled_back.rollouts
            and theirs.stable == rolled_back.candidate and theirs.previous == rolled_back.stable)


def _stable_only(service: Service, rules: Any) -> RoutingPlan:
    """The plan of a worker that does not know the state: the service's stable release."""
    plan = routing_plan(service, rules)
    return replace(plan, epoch=0, phase=Phase.IDLE, candidate=None, weight=0)
