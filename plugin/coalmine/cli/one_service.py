"""Which service of a policy a command is about."""

from __future__ import annotations

from coalmine.release.errors import CoalmineError
from coalmine.rollout.policy import Policy, ServicePolicy


def one_service(policy: Policy, wanted: str | None) -> tuple[str, ServicePolicy]:
    """Return the name and the policy of the service that is wanted, else of the only one."""
    names = ", ".join(policy.services) or "none"
    if wanted is None and len(policy.services) != 1:
        raise CoalmineError(f"the policy has several services or none: {names}",
                            "name one: --service NAME")
    name = wanted or next(iter(policy.services))
    if name not in policy.services:
        raise CoalmineError(f"service {name!r} is not in the policy", f"it has {names}")
    return name, policy.services[name]
