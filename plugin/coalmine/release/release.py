"""A release and the slot in which it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Slot(str, Enum):
    """Where a release runs. Each service has two slots; a release occupies one of them."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Slot:
        """The slot that this one is not."""
        return Slot.GREEN if self is Slot.BLUE else Slot.BLUE


@dataclass(frozen=True, slots=True)
class Release:
    """What is shipped, immutable.

    Attributes:
        name: what people call it, ``v2``.
        slot: where it runs.
        digest: content digest of its bundle (``sha256:…``), or None when nobody stated one.
    """

    name: str
    slot: Slot
    digest: str | None = None
