"""What deciding a turn needs to know of the shared state."""

from __future__ import annotations

from typing import Protocol

from coalmine.state import State, StateError


class StateUnused(StateError):
    """No policy is in force that says where the shared state is: the policy is to blame."""

    code = "policy_broken"


class Knowledge(Protocol):
    """What the worker knows; see :class:`coalmine.gateway.follower.Follower`."""

    @property
    def unused(self) -> StateUnused | None:
        """Why the shared state is not used, None where it is at least looked for."""

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
        StateUnused: when no policy says where it is.
        StateError: when it was never reached.
    """
    state = knowledge.state
    if state is None:
        if knowledge.unused is not None:
            raise StateUnused(knowledge.unused.message, knowledge.unused.hint)
        raise StateError("the shared state has not been reached yet")
    return state
