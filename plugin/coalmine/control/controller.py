"""The controller: one worker of all holds a lease, reads what the others ship, judges and acts.

Read, judge, decide, compare-and-set, then effects. The loop names no phase: what is due is
:func:`coalmine.rollout.advance.next_event`'s to say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coalmine.control.evidence_keeper import EvidenceKeeper
from coalmine.control.figures import Figures, verdict_document
from coalmine.control.log_entry import entry_of
from coalmine.guardrails import Attempt, Verdict, from_row
from coalmine.release import CoalmineError, Slot, Strength
from coalmine.rollout import events as ev
from coalmine.rollout.advance import Observed, next_event
from coalmine.rollout.policy import Policy
from coalmine.rollout.service import Service
from coalmine.rollout.transitions import Refused, apply
from coalmine.routing import Arm, Phase
from coalmine.state import Batch, Beat, State, StateError

log = logging.getLogger("coalmine.controller")

LEASE = 1.5
"""Seconds that the lease lasts: after a controller's death another has it within 2 s."""

TAKE_OVER = 10.0
"""Seconds that the lease lasts while one service's evidence is read: 50 000 conversations take a
second of an idle core, and whom others succeed meanwhile never comes to an end."""

TICK = 0.2
"""Seconds between two looks when nothing rings."""

ROUND = 0.6
"""Seconds between two full rounds while nothing was shipped and no service has changed: time alone
ends soaks, pauses and windows. What is shipped or changed is looked at within a tick."""

PUBLISH = 1.0
"""Seconds between two publications of the figures."""

READS = 100
"""Batches read at once. Between two reads the lease is renewed: who takes over reads a quarter of
an hour, which under load takes longer than the lease lasts."""

AHEAD = 1.0
"""Seconds that a worker's clock may be ahead of ours; what ended later ended now."""

JOIN = 1.0
"""Seconds that a stop waits for the thread."""


def published_name(service: str) -> str:
    """Name under which a service's figures are published."""
    return f"figures/{service}"


def named_name(service: str) -> str:
    """Name under which is kept which releases of the policy have been registered."""
    return f"named/{service}"


class Controller:
    """The loop that moves rollouts.

    Args:
        worker: this worker's id, which owns the lease.
        state: returns the shared state, None while there is none.
        policy: returns the policy in force.
        count: adds to a counter (metric, labels …).
        wall: unix seconds.
        strength: returns what the deployments of a service's slot say of themselves.
    """

    def __init__(
        self,
        worker: str,
        *,
        state: Callable[[], State | None],
        policy: Callable[[], Policy | None],
        count: Callable[..., None],
        wall: Callable[[], float] = time.time,
        strength: Callable[[str, Slot], Strength] = lambda service, slot: Strength(),
    ) -> None:
        self._worker = worker
        self._state = state
        self._policy = policy
        self._count = count
        self._wall = wall
        self._strength = strength
        self._evidence = EvidenceKeeper()
        self._leads = False
        self._renewed = float("-inf")
        self._cursor = ""
        self._generation = -1
        self._round = float("-inf")
        self._services: dict[str, Service] = {}
        self._figures: dict[str, Figures] = {}
        self._published: dict[str, float] = {}
        self._named: dict[str, dict[str, Any]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coalmine-controller", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Give the lease back and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN)
        state = self._state()
        if state is not None and self._leads:
            try:
                if not self._thread.is_alive():  # else it is taking a batch in just now
                    for name, figures in self._figures.items():
                        self._evidence.keep(state, name, figures.trial, self._wall(), at_once=True)
                state.unlease(self._worker)
            except StateError as error:
                log.debug("the lease was not given back: %s", error)

    @property
    def leads(self) -> bool:
        """Whether this worker is the controller."""
        return self._leads

    def _run(self) -> None:
        bell = None
        while not self._stop.is_set():
            state = self._state()
            try:
                if state is not None and bell is None:
                    bell = state.bell(f"{self._worker}-controller")
                if bell is not None:
                    bell.wait(TICK)
                else:
                    self._stop.wait(TICK)
                if state is not None and not self._stop.is_set() and self._lead(state):
                    self.turn(state, quick=time.monotonic() - self._round < ROUND)
            except CoalmineError as error:
                log.warning("the controller stands still: %s", error)
                self._stop.wait(TICK)
            except Exception:
                # A dead controller would look like one that finds nothing broken.
                log.exception("the controller stands still")
                self._count("coalmine_faults_total", "controller")
                self._stop.wait(TICK)
        if bell is not None:
            bell.close()

    def _lead(self, state: State) -> bool:
        """Hold the lease, renewing it well before it ends."""
        now = time.monotonic()
        if self._leads and now - self._renewed < LEASE / 3:
            return True
        led = self._leads
        self._leads = state.lease(self._worker, LEASE)
        self._renewed = now
        if self._leads and not led:
            log.info("worker %s is the controller now", self._worker)
            self._cursor, self._figures, self._published, self._named = "", {}, {}, {}
            self._evidence = EvidenceKeeper()
            self._round = float("-inf")
        return self._leads

    def _lost(self, state: State) -> bool:
        """Whether the lease was lost over what this round has done so far."""
        return self._leads and not self._lead(state)

    def turn(self, state: State, *, quick: bool = False) -> None:
        """One round: take in what was shipped, judge, act, publish.

        A quick one ends early when nothing was shipped and no service has changed.
        """
        generation = state.generation()
        quick = quick and generation == self._generation
        if not quick:
            self._services = state.load()
            self._generation = generation
        services = self._services
        for name, service in services.items():
            known = self._figures.get(name)
            if known is None:
                if self._lost(state):
                    return
                # Known only when all of it was read: half of a take-over would overwrite what the
                # one before us had kept.
                self._figures[name] = self._take_over(state, service)
            else:
                known.follow(service)
        shipped = self._read(state)
        if shipped is None or (quick and not shipped):
            return
        self._round = time.monotonic()
        drains = any(service.phase is Phase.ROLLING_BACK for service in services.values())
        workers = state.workers() if drains else []
        # First those of which something was shipped: they must not wait until all others' figures
        # are published.
        for name in sorted(services, key=lambda name: name not in shipped):
            if self._lost(state):
                return
            try:
                self._judge(state, services[name], self._figures[name], workers)
            except StateError:
                raise
            except Exception:
                # One service's fault must not leave the others without a judge.
                log.exception("%s cannot be judged", name)
                self._count("coalmine_faults_total", "controller")

    def _take_over(self, state: State, service: Service) -> Figures:
        """Return the figures of a service as the controller before us left them."""
        figures = Figures(service.name)
        figures.follow(service, state.published(published_name(service.name)))
        if self._leads and figures.trial is not None:
            state.lease(self._worker, TAKE_OVER)
            self._renewed = float("-inf")  # then it is renewed at once, to its usual length
        if figures.trial is not None and not self._evidence.restore(
                state, service.name, figures.trial):
            self._count("coalmine_faults_total", "evidence")
        return figures

    def _judge(self, state: State, service: Service, figures: Figures, workers: list[Beat]
               ) -> None:
        now = self._wall()
        self._compare_loads(service, figures)
        verdict = figures.verdict(service, now)
        observed = _observed(service, figures, verdict, workers, now)
        event = next_event(service, observed) or self._registers(state, service, now)
        after = self._act(state, service, event, verdict) if event is not None else service
        self._publish(state, after, figures, verdict, now, changed=event is not None)
        self._evidence.keep(state, service.name, figures.trial, now)

    def _compare_loads(self, service: Service, figures: Figures) -> None:
        held = {Arm.STABLE: service.stable, Arm.CANDIDATE: service.candidate}
        found = {arm: self._strength(service.name, service.releases[name].slot)
                 for arm, name in held.items() if name is not None and name in service.releases}
        hosts = [strength.hosts for strength in found.values()]
        figures.compare_loads({arm: strength.capacity for arm, strength in found.items()},
                              shared_host=len(hosts) == 2 and not hosts[0].isdisjoint(hosts[1]))

    def _read(self, state: State) -> set[str] | None:
        """Take in what was shipped; return the services it is of, None when the lease was lost
        over it."""
        shipped: set[str] = set()
        while True:
            cursor, batches = state.batches(self._cursor, READS)
            self._cursor = cursor
            shipped |= self._take(batches)
            if len(batches) < READS:
                return shipped
            if not self._lead(state) or self._stop.is_set():
                return None

    def _take(self, batches: list[Batch]) -> set[str]:
        """Take in the attempts of some batches, in the order in which they ended; return their
        services."""
        latest = self._wall() + AHEAD
        taken: list[tuple[Attempt, Batch]] = []
        for batch in batches:
            self._evidence.take_in(batch)
            for row in batch.attempts:
                try:
                    attempt = from_row(row)
                except ValueError as error:
                    self._count("coalmine_dropped_total", "malformed")
                    log.warning("dropped: %s", error)
                    continue
                if attempt.at > latest:
                    attempt = replace(attempt, at=latest - AHEAD)
                taken.append((attempt, batch))
        taken.sort(key=lambda one: one[0].at)
        for attempt, batch in taken:
            figures = self._figures.get(attempt.service)
            if figures is None:
                continue
            try:
                figures.add(attempt, evidence=self._evidence.is_new(attempt.service, batch))
            except Exception:
                # One service's trouble must not keep the others' attempts from being judged.
                log.exception("%s: an attempt could not be judged; its evidence begins anew",
                              attempt.service)
                self._count("coalmine_faults_total", "not_judged")
                if figures.trial is not None:
                    figures.trial.forget_evidence()
        return {attempt.service for attempt, _ in taken}

    def _registers(self, state: State, service: Service, now: float) -> ev.Event | None:
        """A release that the policy names and that has not been registered yet.

        Each entry of the policy is registered once: a release that somebody has registered since
        in the slot of one that the policy names is newer than the policy's word.
        """
        policy = self._policy()
        rules = policy.services.get(service.name) if policy else None
        if rules is None:
            return None
        named = self._named.get(service.name)
        if named is None:
            named = self._named[service.name] = dict(
                state.published(named_name(service.name)) or {}
            )
        before = dict(named)
        for name in named.keys() - rules.releases.keys():
            del named[name]
        found: ev.Event | None = None
        for name, entry in rules.releases.items():
            word = [entry.slot.value, entry.digest]
            known = service.releases.get(name)
            if known is not None and (known.slot is entry.slot or name not in named):
                named[name] = word
            if named.get(name) == word or found is not None:
                continue
            event = ev.Register(at=now, who="policy", release=name, slot=entry.slot,
                                digest=entry.digest, reason="named by the policy")
            try:
                apply(service, event)
            except Refused as refused:
                log.debug("%s is not registered: %s", name, refused.message)
                continue
            found = event
        if named != before:
            state.publish(named_name(service.name), named)
        return found

    def _act(self, state: State, service: Service, event: ev.Event,
             verdict: Verdict | None) -> Service:
        after = apply(service, event)
        if after is service:
            return service
        figures: dict[str, Any] = {}
        if verdict is not None:
            trial = self._figures[service.name].trial
            figures = {"verdict": verdict_document(verdict),
                       "first_failure": trial.first_failure if trial else None,
                       "last_failure": trial.last_failure if trial else None}
        if not state.swap(service, after, entry_of(service, after, event, figures)):
            return service  # another came first; the next round sees what it did
        log.info("%s: %s → %s: %s", service.name, service.phase.value, after.phase.value,
                 after.reason)
        if isinstance(event, ev.RollBack):
            self._count("coalmine_rollbacks_total", service.name, event.trigger)
        return after

    def _publish(self, state: State, service: Service, figures: Figures,
                 verdict: Verdict | None, now: float, *, changed: bool) -> None:
        if not changed and 0 <= now - self._published.get(service.name, 0.0) < PUBLISH:
            return
        self._published[service.name] = now
        document: dict[str, Any] = figures.document(service, verdict, now)
        state.publish(published_name(service.name), document)


def _observed(service: Service, figures: Figures, verdict: Verdict | None, workers: list[Beat],
              now: float) -> Observed:
    name = f"{service.name}/{service.candidate}"
    return Observed(
        now=now,
        verdict=verdict,
        step_conversations=figures.step_conversations,
        last_candidate=figures.trial.last_candidate if figures.trial else None,
        unwatched=figures.unwatched,
        in_flight={beat.worker: beat.in_flight[name] for beat in workers
                   if beat.in_flight.get(name)},
        behind=tuple(beat.worker for beat in workers
                     if beat.epochs.get(service.name, 0) < service.epoch),
    )
