"""A server's certificate, and the newer one that is written over it while it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("coalmine.sim")

EVERY = 0.5
"""Seconds between two looks at the file."""


@dataclass(frozen=True)
class Certificate:
    """What a server shows.

    Attributes:
        certificate: the file of the certificate, and of what it is signed by.
        key: the file of its key; None when the first file holds it too.
        refresh: whether a newer one is taken at once, as by vLLM's ``--enable-ssl-refresh``.
    """

    certificate: Path
    key: Path | None = None
    refresh: bool = False

    async def follow(self, context: ssl.SSLContext) -> None:
        """Let new connections have what the file holds, from now on, if it is to refresh.

        Like vLLM's it watches the file that was there at the start: a file that takes its place
        is seen once, and what takes that one's place is not. On the server's own loop: a handshake
        between certificate and key would fail.
        """
        if not self.refresh:
            return
        with self.certificate.open("rb") as file:
            known = _state(file.fileno())
            while True:
                await asyncio.sleep(EVERY)
                if (seen := _state(file.fileno())) == known:
                    continue
                try:
                    context.load_cert_chain(self.certificate, self.key)
                except OSError as error:  # half of it may be there: look again
                    log.error("the new certificate cannot be used: %s", error)
                else:
                    known = seen


def _state(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_nlink, found.st_mtime_ns
