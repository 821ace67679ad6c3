"""Lines of JSON, by the fastest means at hand.

orjson comes with the gateway; a laptop that replays may be without it. What orjson refuses is read
by ``json``, so that both are of one mind: a number that is none (``NaN``, ``Infinity``, ``1e999``)
is read as one, and whoever uses it decides.
"""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:  # pragma: no cover - it is there wherever the tests run
    orjson = None  # type: ignore[assignment, unused-ignore]

LONGEST = 65_536
"""Bytes of a line; a longer one is no event, and is not read into memory whole."""


def parse(line: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line holds, None where it holds none."""
    if len(line) > LONGEST:
        return None
    if orjson is None:
        found = _plainly(line)
    else:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = _plainly(line)
    return found if isinstance(found, dict) else None


def to_line(document: dict[str, Any]) -> bytes:
    """Return a document as one line, its end included.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    if orjson is not None:
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _plainly(line: str | bytes) -> Any:
    try:
        text = line if isinstance(line, str) else line.decode()
        return json.loads(text.removeprefix("\ufeff"))  # some editors begin a file with it
    except (ValueError, RecursionError):
        return None
