"""Calls to Redis: bounded, never repeated, and never done after their caller has given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from coalmine.state.breaker import Breaker
from coalmine.state.errors import StateRefused, StateUnreachable
from coalmine.state.redis_address import client_options
from coalmine.state.redis_checks import ServerChecks
from coalmine.state.redis_errors import lost, translate
from coalmine.state.redis_scripts import script

CLOCK_KEPT = 30.0
"""Seconds after which the server's clock is read again."""


class RedisLink:
    """One process's way to a Redis.

    The client's own defaults would repeat a call ten times: measured 6 s for a claim from a hung
    server in spite of a timeout of 200 ms. Its health check is off too: it would only find out a
    little earlier what the call itself finds out within the same deadline.

    Args:
        url: ``redis://`` or ``rediss://``.
        deadline: seconds for the connect and for each answer.

    Raises:
        StateRefused: the server cannot be used. One out of reach raises nothing here.
    """

    def __init__(self, url: str, deadline: float) -> None:
        self.deadline = deadline
        options = client_options(url)
        self.database: int = options["db"]
        self._client: Any = redis.Redis(
            **options, socket_timeout=deadline, socket_connect_timeout=deadline,
            retry=Retry(NoBackoff(), 0), protocol=2, health_check_interval=0,
        )
        self._checks = ServerChecks()
        self._offset = 0.0
        self._learnt: float | None = None
        self._breaker = Breaker(self._probe)
        try:
            self._probe()
        except StateRefused:
            self.close()
            raise
        except StateUnreachable as error:
            self._breaker.trip(error)

    # calls ------------------------------------------------------------------------------------
    def command(self, *words: str | bytes | int) -> Any:
        """Send one command and return the answer. Raises a StateError."""
        self._breaker.check()
        return self._send(lambda: self._client.execute_command(*words))

    def call(
        self, name: str, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int] = ()
    ) -> Any:
        """Run a script, atomically, and return its answer. Raises a StateError."""
        self._breaker.check()
        made = script(name)
        words: list[str | bytes | int] = [len(keys), *keys, *arguments]
        if made.guarded:
            words.append(self._deadline())
        return self._send(lambda: self._evaluate(made.sha, made.text, words))

    def _evaluate(self, sha: str, text: str, words: list[str | bytes | int]) -> Any:
        try:
            return self._client.execute_command("EVALSHA", sha, *words)
        except redis.exceptions.NoScriptError:
            # Not a repetition: nothing was done. The server keeps the text from now on.
            return self._client.execute_command("EVAL", text, *words)

    def _send(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (redis.RedisError, OSError) as error:
            ours = translate(error)
            if lost(error):
                self._breaker.trip(ours)
            elif str(error).startswith("LATE"):
                self._learnt = None
            raise ours from error

    # the server's clock -----------------------------------------------------------------------
    def _deadline(self) -> int:
        """Return when the caller gives up, in microseconds of the server's clock."""
        learnt = self._learnt
        if learnt is None or time.monotonic() - learnt > CLOCK_KEPT:
            self._send(self._learn)
        return int((time.monotonic() + self.deadline + self._offset) * 1e6)

    def _learn(self) -> None:
        seconds, micros = self._client.execute_command("TIME")
        now = time.monotonic()
        # The clock was read a little before `now`, so this errs on the early side.
        self._offset = int(seconds) + int(micros) / 1e6 - now
        self._learnt = now

    def _probe(self) -> None:
        """Ask whether the server is well, on a fresh connection.

        Raises:
            StateError: it is not.
        """
        try:
            self._client.connection_pool.disconnect(inuse_connections=False)
            self._learn()
            self._checks.check(self._client.execute_command)
        except (redis.RedisError, OSError) as error:
            raise translate(error) from error

    # bell -------------------------------------------------------------------------------------
    def subscription(self) -> Any:
        """Return a new, unconnected subscription of the client's."""
        return self._client.pubsub()

    def close(self) -> None:
        """Close the connections; calls fail from now on."""
        self._breaker.close()
        self._client.close()
