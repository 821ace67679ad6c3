"""A server's certificate, and the newer one that replaces its file while it runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("coalmine.sim")

EVERY = 0.5
"""Seconds between two looks at the files."""


@dataclass(frozen=True)
class Certificate:
    """What a server shows.

    Attributes:
        certificate: the file of the certificate, and of what it is signed by.
        key: the file of its key; None when the first file holds it too.
        refresh: whether one that changes is taken at once, as by vLLM's ``--enable-ssl-refresh``.
    """

    certificate: Path
    key: Path | None = None
    refresh: bool = False

    async def follow(self, context: ssl.SSLContext) -> None:
        """Let new connections have what the files hold, from now on, if it is to refresh.

        On the server's own loop: a handshake between certificate and key would fail.
        """
        known = self._seen()
        while self.refresh:
            await asyncio.sleep(EVERY)
            try:
                if (seen := self._seen()) != known:
                    context.load_cert_chain(self.certificate, self.key)
                    known = seen
            except OSError as error:  # half of it may be there: look again
                log.error("the new certificate cannot be used: %s", error)

    def _seen(self) -> tuple[int, ...]:
        files = [self.certificate, *([self.key] if self.key else [])]
        return tuple(number for file in files for number in (file.stat().st_ino,
                                                             file.stat().st_mtime_ns))
