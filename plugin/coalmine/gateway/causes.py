"""Why an engine did not answer, in words that hold nothing of what it answered.

LiteLLM makes an "InternalServerError (500)" of a connection that was refused, and people would look
for the fault in an engine that is not there. What really happened lies below, as its cause.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator

import httpx
import litellm

DEPTH = 12
"""Causes that are looked at; they are five or six as a rule."""

CAUSES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ConnectionRefusedError,), "the connection was refused"),
    ((socket.gaierror,), "its host name is not known"),
    ((ssl.SSLCertVerificationError,), "its certificate is not trusted"),
    ((ConnectionResetError, BrokenPipeError, httpx.RemoteProtocolError, httpx.ReadError),
     "the connection was cut"),
    ((litellm.Timeout, httpx.TimeoutException, asyncio.TimeoutError, TimeoutError),
     "no answer in time"),
    ((httpx.TransportError,), "the connection failed"),
)
"""What is looked for among an error's causes, the most telling first, and what it means."""

WRAPPERS = ("litellm", "openai")
"""Packages whose exceptions wrap the one that says what happened."""


def in_words(error: BaseException) -> str:
    """Return why a probe failed: what became of the connection, else LiteLLM's class and status."""
    chain = list(_chain(error))
    for kinds, words in CAUSES:
        if any(isinstance(each, kinds) for each in chain):
            return words
    status = getattr(error, "status_code", None)
    return type(error).__name__ + (f" ({status})" if status else "")


def in_names(error: BaseException) -> str:
    """Return the same in names to search for: ``InternalServerError 500, ConnectionRefusedError``.

    The first are LiteLLM's class and status, the second is what they were made of.
    """
    name, status = type(error).__name__, getattr(error, "status_code", None)
    told = f"{name} {status}" if isinstance(status, int) else name
    root = type(list(_chain(error))[-1])
    known = root is type(error) or root.__module__.split(".")[0] in WRAPPERS
    return told if known else f"{told}, {root.__name__}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes.

    LiteLLM makes the next attempt while it handles the last one's error, so that one hangs below:
    what a wrapper wraps there is another attempt's.
    """
    below: BaseException | None = error
    reached = False
    for _ in range(DEPTH):
        if below is None:
            return
        wrapper = type(below).__module__.split(".")[0] in WRAPPERS
        if wrapper and reached:
            return
        reached = reached or not wrapper
        yield below
        below = below.__cause__ or below.__context__
