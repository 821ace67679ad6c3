"""How the command ends: one table from error to exit code."""

from __future__ import annotations

from coalmine.cli.client_errors import (
    BadAnswer,
    ClientError,
    Misconfigured,
    Refused,
    Unreachable,
)
from coalmine.release.errors import CoalmineError

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3

MEANINGS: dict[int, str] = {
    DONE: "done, also when there was nothing to change",
    FAILED: "refused (also because the proxy does not know the key) or failed; the reason is one "
    "line on stderr",
    USAGE: "the command line, the address or the key cannot be used, or no key was given; nothing "
    "was sent",
    UNREACHABLE: "no answer from the proxy",
}

EXIT_CODES: dict[type[CoalmineError], int] = {
    CoalmineError: FAILED,
    ClientError: FAILED,
    Refused: FAILED,
    BadAnswer: FAILED,
    Misconfigured: USAGE,
    Unreachable: UNREACHABLE,
}
"""An error that is not named here ends like its nearest parent that is."""


def exit_code(error: CoalmineError) -> int:
    """Return the exit code for `error`."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
