"""Where the proxy is and who asks: the global options, as every command gets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

from coalmine.cli.client import CONNECT_TIMEOUT, READ_TIMEOUT, Client, Misconfigured

PROBING = 60.0
"""Seconds: a start, and a rollback of an idle service, wait for a real completion of an engine."""


@dataclass(frozen=True)
class Settings:
    """The global options."""

    url: str
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    ca: Path | None = None

    def client(self, *, patience: float = READ_TIMEOUT) -> Client:
        """Return a client that waits `patience` seconds for an answer.

        Raises:
            Misconfigured: also without a key: every command that asks the proxy needs one.
        """
        key = (self._read_key() or "").strip()
        if not key:
            raise Misconfigured(
                "no key was given" if self.key_file is None else f"{self.key_file} holds no key",
                "set COALMINE_KEY, or name a file with --key-file",
            )
        return Client(
            self.url,
            key,
            timeout=(CONNECT_TIMEOUT, patience),
            verify=True if self.ca is None else self.ca,
        )

    def _read_key(self) -> str | None:
        if self.key_file is None:
            return self.key
        try:
            return self.key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise Misconfigured(f"the key file {self.key_file} cannot be read: {why}") from None


def settings(ctx: typer.Context) -> Settings:
    """Return the global options of this call."""
    found = ctx.obj
    assert isinstance(found, Settings)
    return found
