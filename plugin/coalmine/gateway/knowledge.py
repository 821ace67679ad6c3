"""What deciding a turn needs to know of the shared state."""

from __future__ import annotations

from typing import Protocol

from coalmine.state import State, StateError


class Knowledge(Protocol):
    """What the worker knows; see :class:`coalmine.gateway.follower.Follower`."""

    @property
    def state(self) -> State | None:
        """The shared state, None before it was ever reached."""

    def silence(self) -> float:
        """Seconds since the state was last heard of."""

    def salt(self) -> bytes:
        """The installation's salt."""


def reached(knowledge: Knowledge) -> State:
    """Return the shared state.

    Raises:
        StateError: when it was never reached.
    """
    state = knowledge.state
    if state is None:
        raise StateError("the shared state has not been reached yet")
    return state
