"""What is wrong with a policy file: the problems, and the error that carries all of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from coalmine.release import CoalmineError

Path = tuple[str | int, ...]
"""A field as keys and indexes: ``("services", "chat", "rollout", "steps", 1)``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or doubtful, in a policy file.

    Attributes:
        source: name of the file, as the caller gave it; empty when there is none.
        line: line in it, from 1; 0 when it is not known.
        path: the field, ``services.chat.rollout.steps[1].weight``; empty for the whole file.
        message: what is wrong, with the value.
        hint: what to do about it; empty when the message says it.
    """

    source: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        said = f"{self.message} ({self.hint})" if self.hint else self.message
        return ": ".join(part for part in (place, self.path, said) if part)


class PolicyError(CoalmineError):
    """A policy file that cannot be used.

    Attributes:
        problems: all that is wrong with it, by line.
    """

    code = "policy"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def problem_at(source: str, line: int, path: Path, message: str, hint: str = "") -> Problem:
    """Return the problem of the field at `path`, whose name is written as people write it."""
    return Problem(source, line, _written(path), message, hint)


def _written(path: Path) -> str:
    """Return a path as people write it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]{1,64}", part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def quoted(text: str) -> str:
    """Return `text` in quotes, cut when it is long."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)
