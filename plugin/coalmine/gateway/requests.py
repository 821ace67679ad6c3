"""The requests' way through the gateway: what the hooks do, without LiteLLM's calling conventions.

begin → (choose → open → close)* → headers. See docs/how-it-works.md for the picture.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from coalmine.gateway import litellm_router
from coalmine.gateway.assign import Up
from coalmine.gateway.bodies import map_fallbacks, strip_choices, strip_transport
from coalmine.gateway.fleet import Deployment
from coalmine.gateway.identity import KINDS, identify
from coalmine.gateway.turns import BUCKETS, Turn, metadata_of
from coalmine.gateway.worker import Worker
from coalmine.routing import ROLLOUT_RUNS, Arm, RoutingPlan
from coalmine.routing.keys import hidden

log = logging.getLogger("coalmine.requests")

NAME_CAP = 256
"""Characters kept of a model's name that is no service's."""


class Requests:
    """The requests of one worker.

    Args:
        worker: everything that is known.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    # the beginning -------------------------------------------------------------------------------

    async def begin(self, data: dict[str, Any], key: Any, call_type: str) -> None:
        """A client's request has come in: give it a record, a conversation and an arm."""
        worker = self._worker
        admin = _is_admin(key)
        strip_choices(data)
        if not admin:
            map_fallbacks(data, worker.fleet.aliases)
        model = litellm_router.resolved_group(data.get("model"))
        service = self._service(data, model, admin=admin)
        kind = KINDS.get(call_type, "other")
        turn = worker.turns.begin(data, service or str(model or "")[:NAME_CAP], kind, worker.mono())
        turn.admin, turn.tries = admin, admin and service is None
        if service and not admin:
            strip_transport(data)
        turn.client_timeout = bool(data.get("client_side_timeout"))
        turn.stream = data.get("stream") is True
        salt = worker.follower.salt()
        turn.caller = caller_hash(salt, str(getattr(key, "api_key", None) or "anonymous"))
        turn.alias = str(getattr(key, "key_alias", None) or "")
        plan = worker.plan(service) if service else None
        rules = worker.rules(service) if service else None
        if plan is None or rules is None or service is None or worker.problems:
            return
        identity = identify(
            data, metadata_of(data) or {}, service=service, kind=kind, caller=turn.caller,
            unit=plan.unit, headers=plan.headers, salt=salt,
        )
        await worker.assigner.assign(turn, identity, plan, await self._up(turn, plan),
                                     rules.stale_after)
        self._note_down(turn, plan)
        self._prepare_rescue(turn, plan, data)

    def _service(self, data: dict[str, Any], model: str | None, *, admin: bool) -> str | None:
        """Return the service that is asked for; names of slots and deployments are mapped to it."""
        if model is None:
            return None
        if self._worker.follower.plan(model) is not None:
            return model
        if "," in model:  # LiteLLM would split it: several attempts at once under one record
            model = next((part for part in map(str.strip, model.split(",", 64))
                          if self._known(part)), model)
            if self._worker.follower.plan(model) is not None:
                data["model"] = model
                return model
        service = self._worker.fleet.aliases.get(model)
        if service is None or admin:
            return None
        data["model"] = service
        return service

    def _known(self, name: str) -> bool:
        """Whether a name is a service's, or one of its slots' or deployments'."""
        return (self._worker.follower.plan(name) is not None
                or name in self._worker.fleet.aliases)

    async def _up(self, turn: Turn, plan: RoutingPlan) -> Up:
        """Say which arms have a deployment left for this request."""
        fleet = self._worker.fleet
        candidate = bool(fleet.deployments(plan.service, plan.slots.get(plan.candidate or "")))
        stable = Arm.STABLE not in turn.failed
        if stable and plan.phase in ROLLOUT_RUNS:
            down = await self._worker.cooled_down()
            if down:
                stable = any(
                    deployment["model_info"]["id"] not in down for deployment in
                    fleet.deployments(plan.service, plan.slots.get(plan.stable))
                )
        return Up(stable, candidate and Arm.CANDIDATE not in turn.failed)

    def _note_down(self, turn: Turn, plan: RoutingPlan) -> None:
        decision = turn.decision
        if decision and decision.failed is Arm.CANDIDATE and Arm.CANDIDATE not in turn.failed:
            self._worker.accounts.down(turn, plan)

    def _prepare_rescue(self, turn: Turn, plan: RoutingPlan, data: dict[str, Any]) -> None:
        """Let LiteLLM come back to this group, and so to our choice, when the candidate fails.

        A fallback to the same group is allowed by LiteLLM when it says more than the group's name,
        needs no further permission, keeps the answer's model, and works where retries do not: for
        404, for an error in the first chunk, and for clients that ask for no retries.
        """
        if turn.decision is None or turn.decision.arm is not Arm.CANDIDATE or not plan.rescue:
            return
        retries = data.get("num_retries")
        retries = retries if isinstance(retries, int) else litellm_router.usual_retries()
        if data.pop("disable_fallbacks", None) is True:
            usual: list[Any] = []
        elif isinstance(data.get("fallbacks"), list):
            usual = data["fallbacks"]
        else:
            usual = litellm_router.usual_fallbacks(plan.service)
        turn.usual = usual
        turn.rescue = [{"model": plan.service, "num_retries": retries}, *usual]
        data["fallbacks"] = turn.rescue
        data["num_retries"] = 0

    # each attempt --------------------------------------------------------------------------------

    async def choose(
        self, model: str, healthy: list[Deployment], turn: Turn | None
    ) -> list[Deployment]:
        """Return the deployments among which LiteLLM may choose. Never empty if `healthy` is not.

        Args:
            model: the model group.
            healthy: its deployments that are not cooled down.
            turn: the client's request, None for calls that have none.
        """
        worker = self._worker
        if turn is not None:
            # LiteLLM asks once for each attempt: one that is still open has failed on the way.
            worker.accounts.superseded(turn)
        plan = worker.plan(model)
        if plan is None and not (turn is not None and turn.admin):
            # Another slot's group, by a fallback or a list: stable of its service.
            plan = worker.plan(worker.fleet.aliases.get(model, ""))
        if plan is None:
            return healthy
        arm = Arm.STABLE
        if turn is not None and turn.service == model and turn.decision is not None:
            decision = turn.decision
            if plan.epoch != turn.epoch or decision.arm in turn.failed:
                up = await self._up(turn, plan)
                decision = worker.assigner.again(turn, plan, up)
            arm = decision.arm
        found: list[Deployment] = []
        if arm is Arm.CANDIDATE:
            slot = plan.slots.get(plan.candidate or "")
            found = list(worker.fleet.deployments(plan.service, slot))
        found = found or await self._stable(plan, healthy)
        if turn is None or not turn.tried:
            return found
        # LiteLLM draws each retry anew and may meet a dead host again and again.
        return [d for d in found if _id(d) not in turn.tried] or found

    async def _stable(self, plan: RoutingPlan, healthy: list[Deployment]) -> list[Deployment]:
        """Stable's deployments: LiteLLM's cooldown is respected while one is left."""
        slot = plan.slots.get(plan.stable)
        places = self._worker.fleet.places
        warm = [d for d in healthy if (p := places.get(_id(d))) is not None and p.slot is slot]
        if warm:
            return warm
        whole = self._worker.fleet.deployments(plan.service, slot)
        if not whole:
            log.error("%s: slot of stable %s has no deployment; LiteLLM's own choice is served",
                      plan.service, plan.stable)
            self._worker.count("coalmine_faults_total", "no_stable_deployment")
            return healthy
        down = await self._worker.cooled_down()
        return [d for d in whole if _id(d) not in down] or list(whole)

    async def rescue_stream(self, turn: Turn, data: dict[str, Any]) -> Any:
        """Ask stable for a stream that the candidate failed before its first byte.

        Some errors are raised by LiteLLM only when the stream is read, after its own fallbacks:
        those of text completions, and an error in the first event of messages and responses.
        Returns None where there is nothing to rescue; then the error goes its way.
        """
        rescuable = (
            turn.rescue is not None and Arm.CANDIDATE in turn.failed
            and Arm.STABLE not in turn.failed
        )
        if not rescuable:
            return None
        turn.rescue = None  # once
        return await litellm_router.second_stream(turn.kind, turn.service, data)

    # the answer ----------------------------------------------------------------------------------

    async def answered(self, turn: Turn) -> None:
        """The answer is complete: keep what lets the conversation be recognised again."""
        plan = self._worker.follower.plan(turn.service)
        if plan is not None:
            await self._worker.assigner.answered(turn, plan)

    def headers(self, turn: Turn | None) -> dict[str, str] | None:
        """Return what the client is told, from our own record of the attempt."""
        if turn is None or turn.decision is None:
            return None
        turn.told_headers = True
        rules = self._worker.rules(turn.service)
        told = rules.response_headers if rules else "off"
        if told == "off" or (told == "admin" and not turn.admin):
            return None
        found = {
            "x-coalmine-release": turn.decision.release,
            "x-coalmine-arm": turn.decision.arm.value,
            "x-coalmine-epoch": str(turn.epoch),
        }
        if turn.moved_from:
            found["x-coalmine-moved"] = turn.moved_from
        return found


@lru_cache(maxsize=4096)
def caller_hash(salt: bytes, key: str) -> str:
    """Return the hash that stands for a caller's key."""
    return hidden(salt, key)


def _id(deployment: Deployment) -> str:
    return str((deployment.get("model_info") or {}).get("id"))


def _is_admin(key: Any) -> bool:
    role = getattr(key, "user_role", None)
    return str(getattr(role, "value", role)) == "proxy_admin"


def deployment_id(kwargs: dict[str, Any], buckets: Sequence[str] = BUCKETS) -> str:
    """Return the id of the deployment that an attempt's arguments name, "" without one."""
    info = kwargs.get("model_info")
    if not isinstance(info, dict):
        info = next((kwargs[b].get("model_info") for b in buckets
                     if isinstance(kwargs.get(b), dict)), None)
    return str(info.get("id") or "") if isinstance(info, dict) else ""
