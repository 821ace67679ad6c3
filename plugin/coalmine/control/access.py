"""Who may do what: LiteLLM's proxy admins may all, the policy's operators what it says."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from coalmine.release import CoalmineError
from coalmine.rollout.policy import Policy

EVERYTHING = frozenset({"read", "start", "pause", "resume", "promote", "rollback", "register"})


class Unauthorized(CoalmineError):
    """No key, or one that nobody knows."""

    code = "unauthorized"


class Forbidden(CoalmineError):
    """A known key that may not do this."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks.

    Attributes:
        name: for the log.
        may: what they may do.
    """

    name: str
    may: frozenset[str]

    def demand(self, action: str) -> None:
        """Raise Forbidden unless this person may do `action`."""
        if action not in self.may:
            raise Forbidden(
                f"{self.name} may not {action}",
                "ask a proxy admin, or add it to the operator's `may` in the policy",
            )


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header, None without one."""
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    return token.strip()


def operator_of(token: str, policy: Policy | None) -> Person | None:
    """Return the operator whose token this is, None when it is nobody's.

    All operators are compared, in constant time each, so that the answer's time tells nothing.
    """
    given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
    found = None
    for operator in policy.operators if policy else ():
        if hmac.compare_digest(given, operator.token_sha256):
            found = Person(operator.name, frozenset(operator.may) | {"read"})
    return found


def same_token(given: str | None, expected: str | None) -> bool:
    """Compare two tokens in constant time; nothing equals no token."""
    if not given or not expected:
        return False
    digests = (hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
               for token in (given, expected))
    return hmac.compare_digest(*digests)  # of equal length: the time tells not even that
