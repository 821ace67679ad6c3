"""One worker process's Coalmine: everything wired together once, at LiteLLM's start."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from coalmine.control.api import build_api
from coalmine.control.commands import Commands, Probe
from coalmine.control.controller import Controller
from coalmine.control.policy_report import PolicyReport
from coalmine.control.surroundings import Surroundings
from coalmine.gateway import litellm_router
from coalmine.gateway.assign import Assigner
from coalmine.gateway.attempts import Accounts
from coalmine.gateway.circuit_breaker import CircuitBreaker
from coalmine.gateway.collector import Collector
from coalmine.gateway.exposition import render
from coalmine.gateway.fleet import EMPTY, Fleet, read_fleet
from coalmine.gateway.follower import Follower
from coalmine.gateway.gauges import gauges
from coalmine.gateway.health import SILENT, ControllerWatch, health_document, standing
from coalmine.gateway.observing import ObservingPlace
from coalmine.gateway.outbox import outbox_folder
from coalmine.gateway.policy_source import PolicySource
from coalmine.gateway.totals import by_deployment
from coalmine.gateway.turns import Turns
from coalmine.record.event_files import Place
from coalmine.record.recording import Recording
from coalmine.release import Slot, Strength
from coalmine.rollout.policy import ServicePolicy
from coalmine.rollout.service import Rollout
from coalmine.routing import ROLLOUT_RUNS
from coalmine.state import State, StateError, open_state

log = logging.getLogger("coalmine")

THREADS = 8
"""Threads for calls to the state; each call is bounded by the state's deadline."""

API_THREADS = 4
"""Threads for the API, apart: a rollback must not stand in a queue behind conversations."""

SETTLE = 2.0
"""Seconds that an ended attempt waits for LiteLLM's log event before it is shipped without."""

LAST = 0.5
"""Seconds that a stop waits for the log events of the last answers, and for owed pins."""

PAY = 10.0
"""Seconds for which owed pins are written before it is looked whether others came first."""


class Worker:
    """Coalmine in one worker process.

    Args:
        environ: the environment; read here and nowhere else.
        problems: what makes this LiteLLM unsupported; then stable only.
        wall: unix seconds; mono: monotonic seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        problems: list[str],
        wall: Callable[[], float] = time.time,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(3)}"
        self.problems = problems
        self._environ = environ
        self.mono = mono
        self._wall = wall
        self.source = PolicySource(Path(environ.get("COALMINE_CONFIG", "coalmine.yaml")), environ,
                                   mono, wall)
        self._observing = self.source.observing
        self._appeared: float | None = None
        self._watch = ControllerWatch(mono)
        policy = self.source.policy
        # Several proxies on one host share a policy, and each is a gateway of its own.
        self.gateway = (environ.get("COALMINE_GATEWAY")
                        or (policy.gateway if policy else None) or socket.gethostname())
        self.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="coalmine-state")
        self._api_executor = ThreadPoolExecutor(API_THREADS, thread_name_prefix="coalmine-api")
        self.turns = Turns()
        self._fleet: Fleet = EMPTY
        self._fleet_key: Any = None
        self.recording = Recording(
            self.id, self._recorded,
            dropped=lambda times: self.count("coalmine_dropped_total", "record", times=times),
            wall=wall, mono=mono,
        )
        self.collector = Collector(
            self.id, self.gateway, lambda: self.follower.state,
            outbox_folder(self.gateway, self.source.base), self.recording.add,
        )
        self.count = self.collector.count
        self.breaker = CircuitBreaker(self._rollout, self._trip)
        self.accounts = Accounts(
            sink=self.collector, count=self.count, watch=self.breaker.add,
            plan=self.applied, fleet=lambda: self.fleet, wall=wall, mono=mono,
        )
        self.follower = Follower(
            self.id, self.gateway, connect=self._connect, policy=lambda: self.source.policy,
            snapshot=None if self._observing else self.source.beside(
                "coalmine-snapshot.json"),
            in_flight=self.accounts.in_flight, on_moves=self._moved, tick=self._tick, wall=wall,
        )
        self.assigner = Assigner(self.follower, self.count, wall, self.executor)
        self.commands = Commands(
            self.follower, policy=lambda: self.source.policy, probe=self._probe,
            count=self.count, wall=wall, report=self.report,
        )
        self.controller = Controller(
            self.id, state=lambda: self.follower.state, policy=lambda: self.source.policy,
            count=self.count, wall=wall,
            strength=self._strength,
        )
        self._place: ObservingPlace | None = None
        self._paying: Future[None] = Future()
        self._paying.set_result(None)
        self._swept = 0.0
        self._stopped = False
        self._cooled: frozenset[str] = frozenset()
        self._cooled_at = float("-inf")

    def start(self) -> None:
        """Start the threads and add the routes."""
        self.follower.start()
        self.look_at_fleet()
        self.collector.start()
        if not self._observing:
            self.breaker.start()
            self.controller.start()
        litellm_router.at_shutdown(self.stop)
        litellm_router.mount(build_api(Surroundings(
            commands=self.commands, applied=self.follower, policy=lambda: self.source.policy,
            admin=litellm_router.admin_of, metrics=self.metrics, health=self.health,
            metrics_token=lambda: self.source.secret("metrics_token"),
            alert_token=lambda: self.source.secret("alertmanager_token"),
            executor=self._api_executor, wall=self._wall, report=self.report,
            deployments=self.deployments,
        )))
        if self._observing and "COALMINE_CONFIG" in self._environ:
            log.warning("COALMINE_CONFIG names %s, which is not there: nothing is routed, and"
                        " slots can be addressed by anyone", self.source.path.absolute())
        log.info("Coalmine: worker %s of gateway %s, %s", self.id, self.gateway,
                 standing(self.report(), observing=self._observing, problems=len(self.problems)))

    def stop(self) -> None:
        """End in peace: ship what was counted, give the lease back, leave nothing behind.

        Never raises, and a second call does nothing. What its steps wait for fits into
        :data:`coalmine.gateway.litellm_router.STOP`.
        """
        if self._stopped:
            return
        self._stopped = True
        for step in (self.breaker.stop, self.controller.stop, self._settle, self._pay,
                     self.collector.stop, self.recording.stop, self.follower.stop, self._leave):
            try:
                step()
            except Exception:
                log.exception("the end goes on without %s", step.__qualname__)
        log.info("Coalmine: worker %s has ended", self.id)

    def _settle(self) -> None:
        """Let the last answers be told about, and ship those of which nothing was told.

        Their log events are still on the way, in LiteLLM's loop, which goes on meanwhile: with
        tokens and cost, or with the news that the cache answered, which is no attempt. Those that
        take longer count as attempts, as they do after :data:`SETTLE`: left in the outbox, their
        heir would count them all the same, and where none follows nobody would.
        """
        end = time.monotonic() + LAST
        while any(turn.pending for turn in self.turns) and time.monotonic() < end:
            time.sleep(0.01)
        for turn in self.turns:
            self.accounts.settle(turn, float("-inf"))

    def _leave(self) -> None:
        if self._place is not None:
            self._place.leave()

    # what the hooks ask --------------------------------------------------------------------------

    def rules(self, service: str) -> ServicePolicy | None:
        """The policy of a service: the rollout's own while one runs, else the file's."""
        known = self.follower.service(service)
        if known is not None and known.rollout is not None:
            return known.rollout.policy
        policy = self.source.policy
        return policy.services.get(service) if policy else None

    def plan(self, service: str) -> Any:
        """The plan in force, re-read first when the state is known to have changed."""
        state = self.follower.state
        # Over a network the follower's thread is at it already; the loop must not wait for it.
        if state is not None and not state.shared and self.follower.outdated():
            self.follower.refresh()
        return self.follower.plan(service)

    def applied(self, service: str) -> Any:
        """The plan in force, as it was last read; the filter has just asked for the newest."""
        return self.follower.plan(service)

    @property
    def fleet(self) -> Fleet:
        """The deployments as they were last looked at.

        LiteLLM makes its router after it has loaded us; until then there is nothing to see, and a
        slot that only seems empty must not count as down.
        """
        return self._fleet if self._fleet.places else self.look_at_fleet()

    def look_at_fleet(self) -> Fleet:
        """Read LiteLLM's deployments again if they have changed."""
        found = litellm_router.model_list()
        names = self.follower.names()
        key = (names, tuple(map(id, found)))
        if key != self._fleet_key:
            self._fleet, self._fleet_key = read_fleet(found, names), key
            for warning in self._fleet.warnings:
                log.warning("%s", warning)
        return self._fleet

    def _rollout(self, service: str) -> Rollout | None:
        known = self.follower.applied.get(service)
        return known.rollout if known is not None and known.phase in ROLLOUT_RUNS else None

    def _trip(self, service: str, rollout: str, reason: str, figures: dict[str, Any]) -> None:
        """The circuit breaker has seen enough: back to stable, here first, then for all."""
        self.commands.rollback(service, "circuit breaker", reason, trigger="circuit_breaker",
                               figures={**figures, "worker": self.id}, rollout=rollout)

    def _strength(self, service: str, slot: Slot) -> Strength:
        return self.fleet.strength(service, slot)

    async def cooled_down(self) -> frozenset[str]:
        """Ids of the deployments that LiteLLM has cooled down, at most 100 ms old."""
        if self.mono() - self._cooled_at > 0.1:
            self._cooled_at = self.mono()
            self._cooled = await litellm_router.cooled_down()
        return self._cooled

    # ---------------------------------------------------------------------------------------------

    def _connect(self) -> State:
        if not self._observing:
            address = self.source.state_url()
            policy = self.source.policy
            ttl = max((s.sessions.ttl for s in policy.services.values()) if policy else (),
                      default=86400.0)
            return open_state(address, base=self.source.base, pin_ttl=ttl)
        # Observing: the workers of this gateway, which one command line has started, share their
        # figures through a private file.
        place = ObservingPlace()
        place.enter()
        try:
            state = open_state(f"sqlite:///{place.path}/observe.db", base=place.path)
        except BaseException:
            place.leave()
            raise
        self._place = place
        return state

    def _recorded(self) -> Place | None:
        """Where ended attempts are recorded now, None for nowhere."""
        policy = self.source.policy
        record = policy.record if policy is not None else None
        if record is None:
            return None
        return Place(self.source.base / record.folder, record.keep, record.max_bytes)

    def _moved(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self.assigner.pins.clear()
            return
        for key in keys:
            self.assigner.pins.forget(key)

    def _tick(self) -> None:
        """Twice a second, from the follower's thread."""
        if self.assigner.owed and self._paying.done():
            # Not here: a slow state must not keep this thread from hearing of a rollback.
            self._paying = self.executor.submit(self._pay, PAY)
        now = self.mono()
        if now - self._swept < 1.0:
            return
        self._swept = now
        if not self._observing:
            self.source.reread()
        elif self._appeared is None and self.source.path.exists():
            # State and controller belong to a start: half of a rollout would be worse than none.
            self._appeared = self._wall()
            log.warning("the policy %s is there now: restart the proxy to use it",
                        self.source.path)
        self._look_for_controller()
        self.look_at_fleet()
        for turn in self.turns:
            self.accounts.settle(turn, SETTLE)
            self.accounts.waiting(turn)
        for turn in self.turns.sweep(now):
            self.accounts.lost(turn)

    def _pay(self, within: float = LAST) -> None:
        """Write the pins that the shared state is still owed."""
        state = self.follower.state
        if state is None:
            return
        owed = self.assigner.owed
        before = len(owed)
        try:
            owed.pay(state, within)
        except StateError as error:
            log.debug("%d pins are written later: %s", len(owed), error)
        else:
            log.info("the state was told of %d conversations that were served while it did not"
                     " answer", before - len(owed))

    async def _probe(self, service: str, slot: Slot) -> list[Probe]:
        deployments = self.look_at_fleet().deployments(service, slot)
        return [await litellm_router.probe(deployment) for deployment in deployments]

    def metrics(self) -> str:
        """The exposition text of this gateway: all of its workers together."""
        self.collector.flush(False)
        state = self.follower.state
        if state is None:
            return render({}, {})
        workers = [beat for beat in state.workers() if beat.gateway == self.gateway]
        return render(state.totals(self.gateway), gauges(
            self.follower.services, workers, state, self._watch.status()))

    def deployments(self) -> list[dict[str, Any]]:
        """The figures of each deployment on this gateway: all of its workers together."""
        self.collector.flush(False)
        state = self.follower.state
        return by_deployment(state.totals(self.gateway)) if state is not None else []

    def report(self) -> PolicyReport:
        """How the policy file stands."""
        report = self.source.report()
        if self._appeared is None:
            return report
        return replace(report, status="restart_needed", since=self._appeared)

    def _look_for_controller(self) -> None:
        state = self.follower.state
        if self._observing or state is None or self.follower.silence() > SILENT:
            self._watch.unknown()
            return
        try:
            self._watch.look(state, self.follower.applied)
        except StateError as error:
            self._watch.unknown()
            log.debug("whether a controller lives is not known: %s", error)

    def health(self) -> tuple[dict[str, Any], bool]:
        """Whether Coalmine is well, without any configuration in it."""
        return health_document(
            self.report(), observing=self._observing, silence=self.follower.silence(),
            unused=self.follower.unused is not None,
            problems=len(self.problems), controller=self._watch.status(),
            warnings=len(self.fleet.warnings),
        )
