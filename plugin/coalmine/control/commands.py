"""The commands: what people and alerts may ask for, done on the shared state by compare-and-set."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from coalmine.control.controller import published_name
from coalmine.control.figures import BASELINE_SPAN
from coalmine.control.log_entry import entry_of
from coalmine.control.policy_report import PolicyReport
from coalmine.release import CoalmineError, Slot
from coalmine.rollout import events as ev
from coalmine.rollout.policy import Policy
from coalmine.rollout.service import Service
from coalmine.rollout.transitions import apply
from coalmine.routing import BACK, ROLLOUT_RUNS, Phase
from coalmine.state import Entry, State, StateError, StateUnreachable

log = logging.getLogger("coalmine.commands")

TRIES = 5
"""Compare-and-sets that a command may lose before it gives up; each loss means another's change."""


class NotFound(CoalmineError):
    """A service or a release that nobody knows."""

    code = "not_found"


class Conflict(CoalmineError):
    """Somebody else was there first, or what was asked does not fit what is."""

    code = "conflict"


class PolicyBroken(CoalmineError):
    """A change without a policy in force, because the file that was written cannot be used."""

    code = "policy_broken"


@dataclass(frozen=True, slots=True)
class Probe:
    """One deployment's answer to a real, tiny completion.

    Attributes:
        deployment: LiteLLM's id of it.
        error: why it failed, None when it answered.
    """

    deployment: str
    error: str | None = None


class Applied(Protocol):
    """What this worker applies; the follower."""

    @property
    def state(self) -> State | None:
        """The shared state."""

    def service(self, name: str) -> Service | None:
        """A service as this worker applies it."""

    def apply_first(self, service: Service, entry: Entry) -> None:
        """Apply a rollback here before it is written."""

    def written(self, name: str) -> None:
        """It has been written."""

    def refresh(self) -> None:
        """Read the state now."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command led to."""

    service: Service
    changed: bool
    note: str = ""


def _mend(failed: list[Probe]) -> str:
    """Say what is to be done about a slot that does not answer."""
    said = " ".join(probe.error or "" for probe in failed)
    if "(404)" in said:
        return ("its engine answers, but not for that model: compare litellm_params.model in"
                " LiteLLM's config with the engine's --served-model-name")
    if "(401)" in said or "(403)" in said:
        return "its engine refuses the key: look at litellm_params.api_key in LiteLLM's config"
    return "start its engine and try again"


class Commands:
    """The commands, all synchronous but :meth:`check_start` and :meth:`check_back`.

    Args:
        applied: the follower of this worker.
        policy: returns the policy in force.
        probe: asks every deployment of a slot for a real completion.
        count: adds to a counter (metric, labels …).
        wall: unix seconds.
        report: returns how the policy file stands.
    """

    def __init__(
        self,
        applied: Applied,
        *,
        policy: Callable[[], Policy | None],
        probe: Callable[[str, Slot], Awaitable[list[Probe]]],
        count: Callable[..., None],
        wall: Callable[[], float],
        report: Callable[[], PolicyReport] = PolicyReport,
    ) -> None:
        self._applied = applied
        self._policy = policy
        self._probe = probe
        self._count = count
        self._wall = wall
        self._report = report

    # asking first ------------------------------------------------------------------------------

    async def check_start(self, name: str, release: str) -> None:
        """Refuse a start whose slots do not answer a real completion."""
        service = self.known(name)
        candidate = service.releases.get(release)
        stable = service.releases.get(service.stable)
        startable = service.phase in (Phase.IDLE, Phase.ROLLED_BACK)
        if not startable or candidate is None or stable is None or candidate.slot is stable.slot:
            return  # the transition refuses it with a better reason
        failed = [p for p in await self._slot(name, release, candidate.slot) if p.error]
        if failed:
            raise Conflict(
                f"{release} does not answer in slot {candidate.slot.value}: "
                + "; ".join(f"{p.deployment}: {p.error}" for p in failed),
                _mend(failed),
            )
        answers = await self._slot(name, service.stable, stable.slot)
        if all(p.error for p in answers):
            raise Conflict(
                f"stable {service.stable} does not answer in slot {stable.slot.value}: "
                + "; ".join(f"{p.deployment}: {p.error}" for p in answers),
                "a rollout without a warm way back does not start",
            )

    async def check_back(self, name: str, to: str | None) -> None:
        """Refuse to leave an idle service's release for one that does not answer."""
        service = self.known(name)
        target = to or service.previous
        if service.phase is not Phase.IDLE or target is None or target == service.stable:
            return
        record = service.releases.get(target)
        if record is None:
            return
        failed = [p for p in await self._slot(name, target, record.slot) if p.error]
        if failed:
            raise Conflict(
                f"{target} does not answer in slot {record.slot.value}: "
                + "; ".join(f"{p.deployment}: {p.error}" for p in failed),
                "its slot is not warm any more; stage it and start a rollout",
            )

    async def _slot(self, name: str, release: str, slot: Slot) -> list[Probe]:
        answers = await self._probe(name, slot)
        if not answers:
            raise Conflict(
                f"slot {slot.value} of {name}, where {release} should run, has no deployment",
                f"add one to LiteLLM's model_list with model_info: "
                f"{{service: {name}, slot: {slot.value}}}",
            )
        return answers

    # commands ----------------------------------------------------------------------------------

    def start(self, name: str, release: str, who: str, reason: str, epoch: int | None) -> Done:
        """Begin a rollout."""
        self.demand_policy()
        policy = self._policy()
        rules = policy.services.get(name) if policy else None
        if rules is None:
            raise NotFound(f"service {name!r} is not in the policy", self._names())
        event = ev.Start(at=self._wall(), who=who, reason=reason, release=release, policy=rules,
                         baseline=self._baseline(name))
        done = self._change(name, event, epoch)
        report = self._report()
        return replace(done, note=report.message) if report.message else done

    def demand_policy(self) -> None:
        """Refuse where a policy was written and none is in force.

        Raises:
            PolicyBroken: with the first error, and what to do.
        """
        report = self._report()
        if report.blocks:
            raise PolicyBroken(f"{report.message}{report.first}", report.hint)

    def _baseline(self, name: str) -> dict[str, float]:
        """Return stable's figures of the last minutes, none if they are old or another's."""
        state = self.state()
        published = state.published(published_name(name)) or {}
        service = state.load().get(name)
        if service is None or published.get("stable", service.stable) != service.stable:
            return {}
        if not abs(self._wall() - published.get("at", 0.0)) <= BASELINE_SPAN:
            return {}
        return dict(published.get("baseline") or {})

    def pause(self, name: str, who: str, reason: str, epoch: int | None, *,
              by: str = "person", timebox: float | None = None) -> Done:
        """Pause a rollout."""
        event = ev.Halt(at=self._wall(), who=who, reason=reason, by=by,  # type: ignore[arg-type]
                        timebox=timebox)
        return self._change(name, event, epoch)

    def resume(self, name: str, who: str, reason: str, epoch: int | None) -> Done:
        """Resume a paused rollout."""
        return self._change(name, ev.Resume(at=self._wall(), who=who, reason=reason), epoch)

    def promote(self, name: str, who: str, reason: str, epoch: int | None, *,
                full: bool = False) -> Done:
        """Go to the next step, the bake, or its end."""
        event = ev.Promote(at=self._wall(), who=who, reason=reason, full=full)
        return self._change(name, event, epoch)

    def register(self, name: str, release: str, slot: Slot, digest: str | None, who: str) -> Done:
        """Say that `release` now runs in `slot`."""
        event = ev.Register(at=self._wall(), who=who, release=release, slot=slot, digest=digest,
                            reason=f"{release} registered in slot {slot.value}")
        return self._change(name, event, None)

    def rollback(self, name: str, who: str, reason: str, to: str | None = None,
                 trigger: str = "manual", figures: dict[str, Any] | None = None,
                 rollout: str | None = None) -> Done:
        """Go back to stable: applied here first, then written; never conditioned on an epoch.

        `figures` are those it was decided on, for the log. With a `rollout` it is meant for that
        one only: another that has begun since is left alone.
        """
        service = self.known(name)
        event = ev.RollBack(at=self._wall(), who=who, reason=reason, trigger=trigger, to=to)
        running = service.phase in ROLLOUT_RUNS
        if running:
            after = apply(service, event)
            self._applied.apply_first(after, entry_of(service, after, event, figures))
        try:
            done = self._change(name, event, None, figures, rollout)
        except (StateError, Conflict, NotFound, PolicyBroken) as error:
            # It is never refused for that: what is applied here is written when it can be.
            here = self._applied.service(name)
            if here is None or here.phase not in BACK:
                raise
            log.warning("%s: rolled back here; it is not written yet: %s", name, error.message)
            if isinstance(error, PolicyBroken):
                why = (f"{self._report().said}, so the shared state is not in use: the other "
                       "workers follow when the policy is mended")
            else:
                why = "the state is out of reach, the other workers follow when it is back"
            done = Done(here, running, f"applied by this worker; {why}")
        else:
            self._applied.written(name)
        if done.changed:
            self._count("coalmine_rollbacks_total", name, trigger)
        return done

    # --------------------------------------------------------------------------------------------

    def known(self, name: str) -> Service:
        """Return a service as this worker applies it.

        Raises:
            NotFound: when nobody knows it.
        """
        service = self._applied.service(name)
        if service is None:
            raise NotFound(f"service {name!r} is not known", self._names())
        return service

    def _names(self) -> str:
        """Say which services there are, or why there is none."""
        report = self._report()
        if report.message and not report.in_force:
            return f"{report.message}; {report.hint}"
        policy = self._policy()
        names: Iterable[Any] = policy.services if policy else ()
        if names:
            return f"known are {', '.join(names)}"
        if policy:
            return "the policy names no service"
        where = f" {report.file}" if report.file else ""
        return f"there is no policy{where}: observing only"

    def state(self) -> State:
        """Return the shared state.

        Raises:
            PolicyBroken: when no policy in force says where it is.
            StateUnreachable: when it was never reached.
        """
        state = self._applied.state
        if state is None:
            self.demand_policy()
            raise StateUnreachable("the shared state has not been reached yet")
        return state

    def _change(self, name: str, event: ev.Event, epoch: int | None,
                figures: dict[str, Any] | None = None, rollout: str | None = None) -> Done:
        """Apply an event to the state as it is now, by compare-and-set."""
        state = self.state()
        for _ in range(TRIES):
            before = state.load().get(name)
            if before is None:
                raise NotFound(f"service {name!r} is not known", self._names())
            if epoch is not None and before.epoch != epoch:
                raise Conflict(
                    f"{name} is at epoch {before.epoch}, not {epoch}: somebody changed it",
                    "look at its status again",
                )
            if rollout is not None and (before.rollout is None or before.rollout.id != rollout):
                return Done(before, False)
            after = apply(before, event)
            if after is before:
                return Done(before, False)
            if state.swap(before, after, entry_of(before, after, event, figures)):
                self._applied.refresh()
                return Done(after, True)
        raise Conflict(f"{name} is being changed by others all the time", "try again")
