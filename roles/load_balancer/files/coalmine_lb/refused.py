"""What ends a command, with its exit code."""

from __future__ import annotations

DONE, FAILED, UNREACHABLE = 0, 1, 3
"""Exit codes; 2 is for what cannot be understood."""


class Refused(Exception):
    """What was asked for cannot be done."""

    code = FAILED


class Unreachable(Refused):
    """haproxy does not answer."""

    code = UNREACHABLE
