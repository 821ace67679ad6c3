"""The scripts in ``lua/``: read once, sent once, then called by their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A script.

    Attributes:
        text: what is sent when the server does not know it.
        sha: its digest, by which it is called.
        guarded: it wants a deadline as last argument; see ``lua/_guard.lua``.
    """

    text: str
    sha: str
    guarded: bool


UNGUARDED = frozenset({"load", "resolve", "moved_since", "workers"})
"""These change nothing that could be wrong later."""


@cache
def script(name: str) -> Script:
    """Return the script in ``lua/<name>.lua``."""
    text = _read(name)
    if name not in UNGUARDED:
        text = _read("_guard") + text
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, sha, name not in UNGUARDED)


def _read(name: str) -> str:
    return (resources.files("coalmine.state") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
