"""Gateways and services as haproxy sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DRAINED = 8
"""The flag in a server's administrative state that `set server … state drain` sets."""

MAINTENANCE = 1 | 2 | 4 | 32
"""Its flags of maintenance, whoever asked for it."""


@dataclass
class Gateway:
    """A gateway as haproxy sees it."""

    name: str
    address: str
    flags: int
    stopped: bool
    sessions: int = 0

    @property
    def drained(self) -> bool:
        """Whether it was told to take no new requests."""
        return bool(self.flags & DRAINED)

    @property
    def usable(self) -> bool:
        """Whether it gets new requests."""
        return self.state == "up"

    @property
    def state(self) -> str:
        """How it stands in one word."""
        if self.flags & MAINTENANCE:
            return "maintenance"
        if self.drained:
            return "drained"
        return "down" if self.stopped else "up"

    def document(self) -> dict[str, Any]:
        """Return it as `status --json` shows it."""
        return {"name": self.name, "address": self.address, "state": self.state,
                "sessions": self.sessions}


@dataclass
class Service:
    """A service on the slow path.

    Attributes:
        slot: the slot that haproxy uses, None when it knows none.
        written: the slot in the file, which it reads at its next start.
        engines: by slot, how many engines are up, and how many there are.
    """

    name: str
    slot: str | None = None
    written: str | None = None
    engines: dict[str, tuple[int, int]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as `status --json` shows it."""
        return {"service": self.name, "slot": self.slot, "written": self.written,
                "engines": {slot: {"up": up, "all": count}
                            for slot, (up, count) in self.engines.items()}}
