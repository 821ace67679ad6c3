"""The policy file: read at the start, re-read when it changes, never half."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from coalmine.control.policy_report import PolicyReport
from coalmine.gateway.knowledge import StateUnused
from coalmine.release import CoalmineError
from coalmine.rollout.policy import Policy
from coalmine.rollout.policy_file import PolicyError, read_policy

log = logging.getLogger("coalmine.policy")

REREAD = 2.0
"""Seconds between two looks at the file; a change is in force within 5."""


class PolicySource:
    """The policy in force.

    A faulty file at the start: no policy, and every service is served by the stable release that
    the last snapshot names. A faulty file later: the policy in force goes on. Either way
    :attr:`error` says why. No file at all: the plugin observes.

    Args:
        path: the file; without one the plugin observes.
        environ: where ``os.environ/NAME`` is looked up.
        mono: monotonic seconds.
        wall: unix seconds.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        mono: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.base = path.absolute().parent
        self.policy: Policy | None = None
        self.error: CoalmineError | None = None
        self._environ = environ
        self._mono = mono
        self._wall = wall
        self._wrong_since: float | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._looked = float("-inf")
        self.reread()

    def reread(self) -> None:
        """Look at the file if it is time, and take it in if it has changed."""
        now = self._mono()
        if now - self._looked < REREAD:
            return
        self._looked = now
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return
            policy = read_policy(self.path.read_text(encoding="utf-8"), str(self.path))
        except FileNotFoundError:
            if self.policy is not None and self._stamp is not None:
                log.warning("the policy %s is gone; the one in force goes on", self.path)
            self._stamp = None
            return
        except PolicyError as error:
            self._stamp = stamp
            self._wrong(error)
            log.error("the policy %s is not used:\n%s", self.path, error)
            return
        except UnicodeDecodeError as error:
            self._stamp = stamp
            self._wrong(
                PolicyUnreadable(f"{self.path} is not UTF-8: {error}", "write it as UTF-8"))
            log.error("the policy %s is not used: %s", self.path, self.error)
            return
        except OSError as error:
            unreadable = PolicyUnreadable(f"{self.path} cannot be read: {error}")
            if str(unreadable) != str(self.error):
                log.error("%s", unreadable)
            self._wrong(unreadable)
            return
        if self.policy is not None:
            log.info("the policy %s was read again; it is for the next rollout", self.path)
        elif self.error is not None:
            log.info("the policy %s was mended and is in force", self.path)
        self._stamp, self.policy, self.error = stamp, policy, None
        self._wrong_since = None

    def _wrong(self, error: CoalmineError) -> None:
        self.error = error
        if self._wrong_since is None:
            self._wrong_since = self._wall()

    def report(self) -> PolicyReport:
        """Return how the file stands, for people."""
        error = self.error
        if error is None:
            # Where there is none people ask which folder it was looked for in.
            path = self.path if self.policy is not None else self.path.absolute()
            return PolicyReport(file=str(path), in_force=self.policy is not None)
        problems = error.problems if isinstance(error, PolicyError) else (error,)
        return PolicyReport("error", str(self.path), tuple(map(str, problems)),
                            self._wrong_since, self.policy is not None)

    @property
    def observing(self) -> bool:
        """Whether there is no policy because nobody wrote one; a faulty one is an error."""
        return self.policy is None and self.error is None

    def beside(self, name: str) -> Path:
        """Return a file beside the policy, hidden."""
        return self.base / f".{name}"

    def state_url(self) -> str:
        """Return the address of the shared state, with the environment looked up.

        Raises:
            StateUnused: when no policy is in force.
            PolicyUnreadable: when it names a variable that is not set.
        """
        if self.policy is None:
            report = self.report()
            raise StateUnused(report.message or f"there is no policy {self.path}", report.hint)
        return self._resolved(self.policy.state) or ""

    def secret(self, field: str) -> str | None:
        """Return a secret of the policy, looked up in the environment; None without one."""
        return self._resolved(getattr(self.policy, field)) if self.policy else None

    def _resolved(self, value: str | None) -> str | None:
        if value is not None and value.startswith("os.environ/"):
            name = value.removeprefix("os.environ/")
            if name not in self._environ:
                raise PolicyUnreadable(
                    f"the policy refers to {value}, but {name} is not set", f"set {name}"
                )
            return self._environ[name]
        return value


class PolicyUnreadable(CoalmineError):
    """The policy file cannot be read, or refers to what is not there."""

    code = "policy_unreadable"
