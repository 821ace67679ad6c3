"""Durations as people write and read them: ``10m``, ``1.5h``, ``800ms``, or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)

LONGEST = 10 * 365 * 86400.0
"""Seconds: ten years. Whatever is longer is a slip of the pen."""


def parse_duration(value: Any) -> float:
    """Return a duration in seconds.

    Args:
        value: a number of seconds, or text such as ``90s``, ``10m``, ``1h30m``.

    Raises:
        ValueError: when it is negative, not finite, or not a duration.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a duration; write for example 30s, 10m or 24h")
    if isinstance(value, (int, float)):
        return _possible(value, value)
    if isinstance(value, str):
        text = value.strip().lower()
        if text and _FORM.sub("", text).strip() == "":
            return _possible(sum(float(n) * _UNITS[unit] for n, unit in _FORM.findall(text)), value)
        if text.startswith("-"):
            raise ValueError(f"a duration cannot be negative: {_short(value)}")
    raise ValueError(f"{_short(value)} is not a duration; write for example 30s, 10m or 24h")


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units: ``59m 48s``, ``2d 7h``, ``10m``, ``800ms``.

    Rounded down; clocks that differ make no negative time.
    """
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return " ".join(part for part in parts[:2] if part) or "0s"


def _possible(seconds: float, value: Any) -> float:
    """Return `seconds` if a duration can last so long; `value` is what was written."""
    if not seconds >= 0:  # NaN too
        raise ValueError(f"a duration cannot be {_short(value)}; it must be 0 or more seconds")
    if seconds > LONGEST:
        raise ValueError(f"{_short(value)} is longer than ten years")
    return float(seconds)


def _short(value: Any) -> str:
    """Return what was written, cut where it would fill the screen."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "so large a number"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^(\s*\d+(\.\d+)?\s*(ms|s|m|h|d))+\s*$"},
            ]
        }
    ),
]
"""A field that takes a duration and holds seconds."""
