"""What the operator is told: findings, and why there may be none."""

from __future__ import annotations

from typing import Literal, NamedTuple

LOOK = "Read `dmesg | grep -e NVRM -e Xid`"


class Finding(NamedTuple):
    """Something to tell the operator, in whole sentences."""

    severity: Literal["error", "warning"]
    what: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.what} {self.why} {self.do}"


class Unusable(Exception):
    """The GPUs cannot even be asked; the finding says why."""

    def __init__(self, what: str, why: str, do: str):
        super().__init__(what)
        self.finding = Finding("error", what, why, do)


class Wrong(Exception):
    """An argument makes no sense."""
