"""What can be wrong with the shared state."""

from __future__ import annotations

from coalmine.release import CoalmineError


class StateError(CoalmineError):
    """The shared state did not do what it was asked."""

    code = "state"


class StateUnreachable(StateError):
    """No answer within the deadline. It may or may not have been done."""

    code = "state_unreachable"


class StateBusy(StateUnreachable):
    """It would have had to wait, and was asked not to. Certainly not done: ask from a thread."""

    code = "state_busy"


class StateRefused(StateError):
    """It cannot be used as it is configured: rights, eviction policy, owner, host."""

    code = "state_refused"


class StateCorrupt(StateError):
    """It holds something that we did not write, or a damaged file."""

    code = "state_corrupt"
