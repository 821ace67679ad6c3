"""The root of Coalmine's errors.

CoalmineError
├── problems.PolicyError          a policy file that cannot be used          (rollout)
├── transitions.Refused           a command that this phase does not allow   (rollout)
├── errors.StateError             the shared state                           (state)
│   ├── StateUnreachable          no answer within the deadline
│   │   └── StateBusy             it would have had to wait, and did nothing
│   ├── knowledge.StateUnused     no policy in force says where it is      (gateway)
│   ├── StateRefused              unusable as configured (rights, eviction, host)
│   └── StateCorrupt              it answers something that we did not write
├── sources.EventsUnreadable      a file or folder of recorded events       (record)
├── access.Unauthorized           no key, or one that nobody knows           (control)
├── access.Forbidden              a known key that may not                   (control)
├── commands.NotFound             an unknown service or release              (control)
├── commands.Conflict             another was first, or it does not fit      (control)
├── commands.PolicyBroken         a change without a policy in force         (control)
├── errors.BadRequest             a body that cannot be used                 (control)
├── errors.NotAllowed             a method that a path does not take         (control)
└── client.ClientError            what the HTTP client met                   (cli)
"""

from __future__ import annotations


class CoalmineError(Exception):
    """Something went wrong in a way that we can explain.

    Args:
        message: what is wrong, in one line, with the field and the value.
        hint: what to do about it; empty when there is nothing to add.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
