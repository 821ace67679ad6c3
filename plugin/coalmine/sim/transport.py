"""The few ASGI steps that every endpoint takes, without a framework's cost per request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

encode = json.JSONEncoder(separators=(",", ":")).encode

DONE = b"data: [DONE]\n\n"


def sse(payload: dict[str, Any], event: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {encode(payload)}\n\n".encode()


def header(scope: Scope, name: bytes) -> str | None:
    """A request header, by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client went before it was complete."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_json(send: Send, status: int, payload: dict[str, Any], *, cut: bool = False) -> None:
    """A JSON answer; with `cut` only half of it, and the connection breaks.

    It breaks because the application returns with the response unfinished: the server then has
    nothing left to do but to close.
    """
    body = encode(payload).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if cut:
        await send_piece(send, body[: len(body) // 2])
    else:
        await send_piece(send, body, last=True)


async def start_stream(send: Send) -> None:
    """HTTP 200 and the headers of an event stream, before the first event."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_piece(send: Send, data: bytes, *, last: bool = False) -> None:
    """Part of a body."""
    await send({"type": "http.response.body", "body": data, "more_body": not last})


async def run_unless_gone(work: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Do the work, or drop it as soon as the client disconnects; whether it was completed.

    `work` must await nothing after its last send: the server reports a disconnect from then on.
    """
    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((doing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return True
    finally:
        for task in (doing, watching):
            if not task.done():
                task.cancel()
        # Awaited so that whatever the work holds is given back before the request ends.
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
