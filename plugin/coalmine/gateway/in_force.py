"""What is in force in a worker: services and their plans, merged from all that it was told.

The state, the snapshot of the last start and the rollbacks that were applied here before they were
written may disagree; :mod:`coalmine.rollout.precedence` says which counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock

from coalmine.rollout.policy import ServicePolicy
from coalmine.rollout.precedence import is_behind, is_overruled, never_began
from coalmine.rollout.service import Service, first_state, routing_plan
from coalmine.routing import Phase, RoutingPlan
from coalmine.state import Entry

Rules = Mapping[str, ServicePolicy]


class InForce:
    """The services and plans of one worker. All maps are swapped whole, and read without a lock.

    Args:
        rules: returns the services of the policy in force.
        wall: wall clock, unix seconds.

    Attributes:
        plans: the routing plans, by service.
        applied: services as this worker applies them, since the state was first heard of.
        applied_at: when it began to, by service.
        pending: rollbacks applied here that the state does not know of, with their log entries.
    """

    def __init__(self, rules: Callable[[], Rules], wall: Callable[[], float]) -> None:
        self._rules = rules
        self._wall = wall
        self.plans: Mapping[str, RoutingPlan] = {}
        self.applied: Mapping[str, Service] = {}
        self.applied_at: dict[str, float] = {}
        self.pending: dict[str, tuple[Service, Entry]] = {}
        self._booted: Mapping[str, Service] = {}
        self._kept: Mapping[str, Service] = {}
        self._adopted = False
        self._lock = Lock()

    # asking ----------------------------------------------------------------------------------

    @property
    def services(self) -> Mapping[str, Service]:
        """All services: as they are applied, else as they were at the start."""
        return {**self._booted, **self.applied}

    def plan(self, service: str) -> RoutingPlan | None:
        """The plan in force, None for a service that nobody knows."""
        return self.plans.get(service)

    def service(self, name: str) -> Service | None:
        """One of them, None when nobody knows it."""
        return self.applied.get(name) or self._booted.get(name)

    def seen(self, name: str) -> Service | None:
        """A service as this host has seen it, now or before its restart; not the policy's word."""
        return self.applied.get(name) or self._kept.get(name)

    # changes ---------------------------------------------------------------------------------

    def boot(self, kept: Mapping[str, Service]) -> None:
        """Serve what a snapshot, or else the policy, names as stable until the state is heard of.

        What was in progress is not known to be still: stable only, and an epoch below any.
        """
        rules = self._rules()
        self._kept = kept
        self._booted = {
            **{name: first_state(name, of, self._wall()) for name, of in rules.items()}, **kept}
        self.plans = {name: _stable_only(service, rules.get(name))
                      for name, service in self._booted.items()}

    def trust_boot(self) -> None:
        """Take the snapshot for applied: it is of this very state, and must not be forgotten."""
        with self._lock:
            self.applied = {**self._booted, **self.applied}

    def take(self, found: Mapping[str, Service]) -> tuple[bool, list[Service]]:
        """Merge what the state says; return whether that changed anything, and what it has lost."""
        with self._lock:
            merged, lost = self._merge(found)
            # The first time even if equal: until then the plans are the boot's, stable only.
            changed = merged != self.applied or not self._adopted
            if changed:
                self._adopt(merged)
        return changed, lost

    def apply_first(self, service: Service, entry: Entry) -> None:
        """Apply a rollback that the state does not know of yet."""
        with self._lock:
            self.pending[service.name] = (service, entry)
            self._adopt({**self.applied, service.name: service})

    def written(self, name: str) -> bool:
        """The rollback of a service has been written; say whether one was pending."""
        with self._lock:
            return self.pending.pop(name, None) is not None

    # ---------------------------------------------------------------------------------------------

    def _merge(self, found: Mapping[str, Service]) -> tuple[dict[str, Service], list[Service]]:
        merged = dict(found)
        lost = []
        for name, ours in self.applied.items():
            theirs = found.get(name)
            if theirs is None or (name not in self.pending and is_behind(theirs, ours)):
                merged[name] = ours
                lost.append(ours)
        for name, (rolled_back, _) in self.pending.items():
            theirs = found.get(name)
            if theirs is None or is_overruled(theirs, rolled_back):
                merged[name] = rolled_back
            elif never_began(theirs, rolled_back):
                # There is nothing that it could be applied to: it is put back as it stands here.
                merged[name] = rolled_back
                lost.append(rolled_back)
        return merged, lost

    def _adopt(self, services: dict[str, Service]) -> None:
        self._adopted = True
        rules = self._rules()
        for name, service in services.items():
            known = self.applied.get(name)
            if known is None or known.epoch != service.epoch:
                self.applied_at[name] = self._wall()
        # A service that only the snapshot knows goes on as it began.
        unheard = {name: _stable_only(service, rules.get(name))
                   for name, service in self._booted.items() if name not in services}
        plans = {name: routing_plan(service, rules.get(name))
                 for name, service in services.items()}
        self.applied = services
        self.plans = {**unheard, **plans}


def _stable_only(service: Service, rules: ServicePolicy | None) -> RoutingPlan:
    """The plan of a worker that does not know the state: the service's stable release."""
    plan = routing_plan(service, rules)
    return replace(plan, epoch=0, phase=Phase.IDLE, candidate=None, weight=0)
