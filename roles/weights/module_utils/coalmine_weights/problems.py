"""What may go wrong, as the operator is told."""

from __future__ import annotations


class Unfit(Exception):
    """What was asked for cannot be had; the text tells the operator why and what to do."""


class NotYet(Unfit):
    """Something is not on the host, which in check mode an earlier task may have left out."""


class Wrong(Unfit):
    """A file is not what the manifest says."""


class Broken(Unfit):
    """A transfer did not come to its end; it may the next time."""


def told(problem: Unfit | OSError) -> str:
    """The sentence for the operator."""
    if isinstance(problem, OSError):
        return f"{problem.filename or 'this host'}: {problem.strerror}."
    return str(problem)
