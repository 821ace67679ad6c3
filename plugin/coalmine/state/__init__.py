"""The shared state: one protocol, an embedded SQLite and a Redis."""

from coalmine.state.errors import (
    StateBusy,
    StateCorrupt,
    StateError,
    StateRefused,
    StateUnreachable,
)
from coalmine.state.open_state import open_state
from coalmine.state.protocol import Batch, Beat, Bell, Entry, State

__all__ = [
    "Batch",
    "Beat",
    "Bell",
    "Entry",
    "State",
    "StateBusy",
    "StateCorrupt",
    "StateError",
    "StateRefused",
    "StateUnreachable",
    "open_state",
]
