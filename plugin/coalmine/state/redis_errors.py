"""Errors of the Redis client in our words: one table, walked by a test.

By name, so that a client which lacks a class or has a new one still loads; a test fails when the
installed client has a class that is not here.
"""

from __future__ import annotations

from coalmine.state.errors import StateCorrupt, StateError, StateRefused, StateUnreachable

AWAY = "Redis does not answer"
CLUSTER = "Redis Cluster is not supported: a rollback would not be one atomic act"

TABLE: dict[str, tuple[type[StateError], str, str]] = {
    "RedisError": (StateUnreachable, "the Redis client failed", ""),
    # no answer
    "ConnectionError": (StateUnreachable, AWAY, ""),
    "TimeoutError": (StateUnreachable, AWAY, ""),
    "MaxConnectionsError": (StateUnreachable, "all connections to Redis are in use", ""),
    "BusyLoadingError": (StateUnreachable, "Redis is loading its data", "wait for it"),
    "InvalidResponse": (StateUnreachable, "what answers is not Redis", "look at the address"),
    "PubSubError": (StateUnreachable, "the bell in Redis failed", ""),
    "WatchError": (StateUnreachable, "a transaction in Redis failed", ""),
    "LockError": (StateUnreachable, "a lock in Redis failed", ""),
    "LockNotOwnedError": (StateUnreachable, "a lock in Redis failed", ""),
    "ExecAbortError": (StateUnreachable, "a transaction in Redis failed", ""),
    "NoScriptError": (StateUnreachable, "Redis has forgotten a script", ""),
    "TryAgainError": (StateUnreachable, CLUSTER, "use a single Redis with a replica"),
    # an answer that says that it cannot serve now
    "OutOfMemoryError": (StateUnreachable, "Redis is full", "raise its maxmemory"),
    "ReadOnlyError": (StateUnreachable, "this Redis is a read-only replica", "name the primary"),
    "MasterDownError": (StateUnreachable, "this Redis is a replica without its primary", ""),
    # configured so that it cannot work
    "AuthenticationError": (StateRefused, "Redis refuses user or password", "see the URL"),
    "AuthenticationWrongNumberOfArgsError": (StateRefused, "Redis refuses user or password", ""),
    "AuthorizationError": (StateRefused, "Redis refuses this user", "see its ACL"),
    "ExternalAuthProviderError": (StateRefused, "the provider of Redis' credentials failed", ""),
    "NoPermissionError": (
        StateRefused, "the ACL of Redis forbids this user what Coalmine needs",
        r"allow ~coalmine:* ~\xc3* &coalmine:* +@read +@write +@scripting +@pubsub +time",
    ),
    "ModuleError": (StateRefused, "a module of Redis failed", ""),
    "ClusterError": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "ClusterDownError": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "ClusterCrossSlotError": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "AskError": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "MovedError": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "MasterNotFoundError": (StateUnreachable, "Sentinel knows no primary", ""),
    "SlaveNotFoundError": (StateUnreachable, "Sentinel knows no replica", ""),
    # an answer that our scripts do not give
    "ResponseError": (StateRefused, "Redis refuses a command", "Coalmine needs Redis 6.2 or newer"),
    "NoSuchFieldsetError": (StateRefused, "Redis refuses a command", ""),
    "DataError": (StateRefused, "the Redis client refuses a value", ""),
}
"""Our error, what happened, what to do; by name of the client's class."""

ANSWERS: dict[str, tuple[type[StateError], str, str]] = {
    "LATE": (
        StateUnreachable, "Redis came to it too late, and did nothing",
        "was a clock set? The next call follows it",
    ),
    "WRONGTYPE": (
        StateCorrupt, "Redis holds something that Coalmine did not write", "use another database",
    ),
    "CROSSSLOT": (StateRefused, CLUSTER, "use a single Redis with a replica"),
    "MISCONF": (StateUnreachable, "Redis cannot write its snapshot and stops", "see its disk"),
    "BUSY": (StateUnreachable, "Redis is busy with another program's script", ""),
    "NOREPLICAS": (StateUnreachable, "Redis has too few replicas", ""),
    "UNBLOCKED": (StateUnreachable, "Redis has changed its role", ""),
    "NOAUTH": (StateRefused, "Redis wants a password", "put it into the URL"),
    "WRONGPASS": (StateRefused, "Redis refuses user or password", "see the URL"),
}
"""The same, by the first word of an error answer that has no class of its own."""

LOST = frozenset({"ConnectionError", "TimeoutError", "BusyLoadingError", "InvalidResponse"})
"""After these the next calls would not be answered either."""


def _names(error: BaseException) -> list[str]:
    return [cls.__name__ for cls in type(error).__mro__]


def lost(error: BaseException) -> bool:
    """Whether `error` means that Redis is out of reach, and not that it refused something."""
    for name in _names(error):
        if name in TABLE:
            return name in LOST
    return isinstance(error, OSError)


def translate(error: BaseException) -> StateError:
    """Return our error for one that the client raised.

    The client's own text names host and port and never the password.
    """
    ours: type[StateError] = StateUnreachable
    what, hint = AWAY, ""
    said = str(error)
    first = said.partition(" ")[0]
    if "certificate verify failed" in said or "CERTIFICATE_VERIFY_FAILED" in said:
        return StateRefused(
            f"the certificate of Redis is not trusted: {said}",
            "name the CA by ?ssl_ca_certs=/path/ca.pem in the URL",
        )
    for name in _names(error):
        if name in TABLE:
            ours, what, hint = TABLE[name]
            break
    if type(error).__name__ == "ResponseError":
        # Redis 6 wraps what a command in a script said: "ERR Error running script … WRONGTYPE …".
        word = "WRONGTYPE" if "WRONGTYPE" in said else first
        ours, what, hint = ANSWERS.get(word, (ours, what, hint))
        if "user executing the script can't" in said:
            ours, what, hint = TABLE["NoPermissionError"]
    return ours(f"{what}: {said}" if said else what, hint)
