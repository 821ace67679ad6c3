"""All gateways of an installation at once: a rollback given to each, waited for, and proved.

Each gateway gets the command by itself, so that it flips those that have lost the shared state as
well. A second one changes nothing (design rule 6). What has flipped is then seen by other eyes: by
the epoch that every live worker says it applies, and by real completions through every gateway.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, TypeVar

from coalmine.cli.client import Client, ClientError, Json, Unreachable

CONNECT, READ = 1.0, 10.0
"""Seconds to connect to a gateway, and without a byte of its answer."""

WAIT = 10.0
"""Seconds that workers may take to apply a rollback; they need some 10 ms."""

EVERY = 0.02
"""Seconds between two looks at the workers."""

PROBES = 2
"""Completions that are asked for through each gateway."""

T = TypeVar("T")


class Outcome(str, Enum):
    """How a rollback ended, for people and scripts."""

    RESTORED = "restored"
    """Every live worker has applied it, and every gateway that answers serves stable."""
    NOT_PROVED = "restored-not-proved"
    """Some gateway has taken it, and something is not as it should be: see the problems."""
    NOT_FLIPPED = "not-flipped"
    """No gateway has taken it."""


@dataclass
class Seen:
    """What one gateway did.

    Attributes:
        url: its address.
        state: ``flipped``; ``unchanged``, when it was on stable already, as another's command had
            reached it; ``unreachable``; ``refused``.
        milliseconds: from the command to its answer.
        served: releases that the probes through it were answered by.
        error: why it did not, in words.
    """

    url: str
    state: str = "unreachable"
    milliseconds: float | None = None
    served: list[str] = field(default_factory=list)
    error: str = ""


@dataclass
class Recovery:
    """A rollback of a service over all gateways.

    Attributes:
        outcome: how it ended.
        service: the service.
        release: the release that serves now, None when nothing was flipped.
        epoch: the epoch that says so.
        changed: whether it changed anything.
        seconds: from the first command to the last proof.
        acknowledged_milliseconds: from the first answer until all live workers said that they
            apply it, as seen by asking; None when one never did.
        gateways: what each did.
        workers: live workers, with the epoch that each applies.
        problems: what is not as it should be, in words.
    """

    service: str
    outcome: Outcome = Outcome.NOT_FLIPPED
    release: str | None = None
    epoch: int | None = None
    changed: bool = False
    seconds: float = 0.0
    acknowledged_milliseconds: float | None = None
    gateways: list[Seen] = field(default_factory=list)
    workers: list[Json] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def late(self) -> list[str]:
        """Live workers that do not apply the epoch."""
        return [one["id"] for one in self.workers if (one["epoch"] or 0) < (self.epoch or 0)]

    def to_document(self) -> Json:
        """Return it as JSON."""
        return {**asdict(self), "outcome": self.outcome.value}

    @property
    def sentence(self) -> str:
        """The same for people, in one line."""
        reached = sum(one.state in ("flipped", "unchanged") for one in self.gateways)
        head = f"{self.outcome.value}: {self.service}"
        if self.release is not None:
            already = "" if self.changed else " already"
            head += f" is on {self.release}{already}, epoch {self.epoch}"
        told = f"{reached} of {len(self.gateways)} gateways in {self.seconds:.2f} s"
        return "; ".join([f"{head} ({told})", *self.problems])


class Fleet:
    """The gateways of one installation.

    Args:
        urls: their addresses, each by itself and not a load balancer's.
        key: an operator's token or an admin's key, which may also call the service.
        verify: whether to verify certificates, or the path of a CA file.

    Raises:
        Misconfigured: when one of them cannot be used, or there are none.
    """

    def __init__(self, urls: Sequence[str], key: str | None, *, verify: bool | str = True) -> None:
        self._clients = [Client(url, key, timeout=(CONNECT, READ), verify=verify) for url in urls]
        self._pool = ThreadPoolExecutor(3 * len(self._clients) + 1)

    def look(self, service: str) -> dict[str, Json | ClientError]:
        """Return the service as each gateway sees it, or why it does not say; by address."""
        asked = [self._pool.submit(_tried, client.service, service) for client in self._clients]
        return {client.url: one.result()
                for client, one in zip(self._clients, asked, strict=True)}

    def newest(self, service: str) -> tuple[Client, Json]:
        """Return the service as the gateway sees it that knows most, and that gateway's client.

        Raises:
            ClientError: none answers; it is what the first of them said.
        """
        seen = self.look(service)
        told = [(client, one) for client in self._clients
                if isinstance(one := seen[client.url], dict)]
        if not told:
            raise next(one for one in seen.values() if isinstance(one, ClientError))
        return max(told, key=lambda pair: pair[1]["epoch"])

    def rollback(self, service: str, reason: str, to: str | None = None) -> Recovery:
        """Go back to stable, or from idle to the previous release; wait for it, and prove it.

        What is proved of a gateway waits for no other, least of all for one that does not answer.
        """
        began = time.monotonic()
        before = self._first(service)
        if to is None and before is not None and before["phase"] == "idle":
            # Without its name a second command would go forward again.
            to = before["previous"]
        recovery = Recovery(service, gateways=[Seen(client.url) for client in self._clients])
        flips = {self._pool.submit(_flip, client, seen, service, reason, to): (client, seen)
                 for client, seen in zip(self._clients, recovery.gateways, strict=True)}
        waits: list[Future[None]] = []
        for flip in as_completed(flips):
            client, seen = flips[flip]
            answer = flip.result()
            if answer is None:
                continue
            if not waits:
                recovery.release, recovery.epoch = answer["stable"], answer["epoch"]
                waits.append(self._pool.submit(_wait, client, recovery, answer["epoch"]))
            waits.append(self._pool.submit(_prove, client, seen, service))
        for one in waits:
            one.result()
        recovery.changed = any(seen.state == "flipped" for seen in recovery.gateways)
        _judge(recovery)
        recovery.seconds = round(time.monotonic() - began, 3)
        return recovery

    def _first(self, service: str) -> Json | None:
        """Return the service as the first gateway that answers sees it, None when none does."""
        asked = [self._pool.submit(_tried, client.service, service) for client in self._clients]
        answers = (one.result() for one in as_completed(asked))
        return next((one for one in answers if isinstance(one, dict)), None)


def _flip(client: Client, seen: Seen, service: str, reason: str, to: str | None) -> Json | None:
    """Give one gateway the command; return its answer, None when it did not take it."""
    began = time.monotonic()
    answer = _tried(client.rollback, service, reason, to)
    if isinstance(answer, ClientError):
        seen.state = "unreachable" if isinstance(answer, Unreachable) else "refused"
        seen.error = f"{answer.message} ({answer.hint})" if answer.hint else answer.message
        return None
    seen.state = "flipped" if answer.get("changed") else "unchanged"
    seen.milliseconds = round(1000.0 * (time.monotonic() - began), 1)
    return answer


def _wait(client: Client, recovery: Recovery, epoch: int) -> None:
    """Look until every live worker applies the epoch."""
    began = time.monotonic()
    while True:
        now = _tried(client.service, recovery.service)
        if isinstance(now, dict):
            recovery.workers = now["workers"]
            if recovery.workers and not recovery.late:
                recovery.acknowledged_milliseconds = round(1000.0 * (time.monotonic() - began), 1)
                return
        if time.monotonic() - began > WAIT:
            return
        time.sleep(EVERY)


def _prove(client: Client, seen: Seen, service: str) -> None:
    """Ask for completions through a gateway that took the command."""
    for _ in range(PROBES):
        told = _tried(client.probe, service, f"proof-{secrets.token_hex(8)}")
        if isinstance(told, ClientError):
            seen.error = f"a completion failed: {told.message}"
            return
        seen.served.append(told)


def _judge(recovery: Recovery) -> None:
    """Say how it ended, and all that is not as it should be."""
    problems = recovery.problems
    reached = [one for one in recovery.gateways if one.state in ("flipped", "unchanged")]
    for one in recovery.gateways:
        if one not in reached:
            problems.append(f"{one.url} {one.state}: {one.error}")
    if not reached:
        recovery.outcome = Outcome.NOT_FLIPPED
        return
    if recovery.late:
        problems.append(f"not applied by {', '.join(recovery.late)}")
    if not recovery.workers:
        problems.append("no worker says what it applies")
    wrong = [one for one in reached if set(one.served) != {recovery.release}]
    problems += [f"{one.url} is not proved: {one.error or 'answered by ' + ', '.join(one.served)}"
                 for one in wrong]
    # Who cannot be reached from here and still lives is among the workers, by the shared state.
    proved = not recovery.late and recovery.workers and not wrong
    recovery.outcome = Outcome.RESTORED if proved else Outcome.NOT_PROVED


def _tried(ask: Callable[..., T], *arguments: Any) -> T | ClientError:
    try:
        return ask(*arguments)
    except ClientError as error:
        return error
