"""What status looks at: the services, and what there is where no service is."""

from __future__ import annotations

from collections.abc import Callable

from coalmine.cli import words
from coalmine.cli.client import BadAnswer, Client, Json, Refused
from coalmine.release.errors import CoalmineError


def seen(client: Client, gather: Callable[[], Json]) -> Json:
    """Return what `gather` does; where a gateway observes, with each deployment's figures."""
    found = gather()
    if found.get("services") != [] or (found.get("policy") or {}).get("status") == "error":
        return found
    try:
        return {**found, "deployments": client.deployments()["deployments"]}
    except (Refused, BadAnswer):
        return found  # an older gateway


def demand_policy(found: Json) -> None:
    """Refuse what was found without the policy that somebody wrote.

    Nobody is to take such a gateway for one that observes on purpose.

    Raises:
        CoalmineError: with what is wrong, and what to do.
    """
    policy = found.get("policy") or {}
    if policy.get("status") == "error" and not policy.get("in_force"):
        raise CoalmineError(words.word(policy, "message"), words.word(policy, "hint"))
