"""The words an engine says: a pure function of its seed and what it was asked."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# 64 words, so that six bits of a hash choose one without bias.
_WORDS = (
    "amber anchor apple arrow aspen autumn badge basil beacon birch blossom breeze "
    "bridge brook canyon cedar cinder clover cobalt copper coral cotton cricket crystal "
    "dapple delta ember falcon fern fjord forest garnet ginger glacier granite harbor "
    "hazel heron indigo island ivory jasper juniper kettle lagoon lantern lichen linen "
    "maple marble meadow mellow nectar opal orchid pebble pepper quartz raven saffron "
    "sparrow timber velvet willow"
).split()


def canonical(value: Any) -> str:
    """One spelling of a JSON value, whatever the order of its keys; plain ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def speak(seed: int, release: str, prompt: str, count: int) -> tuple[str, ...]:
    """`count` pieces (one per token): the release in brackets, then words.

    Joined they read `[v2] cedar opal …`; the first piece alone still names the release, so a
    probe of one token does too.
    """
    digest = hashlib.shake_256(f"{seed}\n{prompt}".encode()).digest(max(0, count - 1))
    return (f"[{release}]", *(f" {_WORDS[byte % 64]}" for byte in digest))


def vector(seed: int, release: str, text: str, dimensions: int) -> list[float]:
    """An embedding in [-1, 1] per dimension; two releases never share a space."""
    source = f"{seed}\n{release}\n{text}".encode(errors="surrogatepass")
    digest = hashlib.shake_256(source).digest(2 * dimensions)
    return [
        int.from_bytes(digest[2 * i : 2 * i + 2], "big") / 32767.5 - 1.0 for i in range(dimensions)
    ]
