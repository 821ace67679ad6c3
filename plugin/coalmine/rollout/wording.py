"""Pydantic's errors in plain words, with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Any

from coalmine.guardrails.durations import parse_duration
from coalmine.rollout.problems import quoted
from coalmine.rollout.yaml_nodes import NUMBER

_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
}
_BOUNDS = {
    "greater_than": "is not more than",
    "greater_than_equal": "is less than",
    "less_than": "is not less than",
    "less_than_equal": "is more than",
}


def in_words(
    error: Mapping[str, Any], value: Any, metadata: tuple[Any, ...], secret: bool
) -> tuple[str, str]:
    """Return one of pydantic's errors as message and hint."""
    kind, context = str(error["type"]), error.get("ctx", {})
    shown = "" if secret else _shown(value)
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, "), ""
    if kind in _WANTED:
        return (
            f"must be {_WANTED[kind]}, found {shown or 'something else'}",
            _number(value) if kind.startswith(("int", "float")) else "",
        )
    if kind in _BOUNDS:
        return f"{shown} {_BOUNDS[kind]} {next(iter(context.values())):.12g}", _range(metadata)
    if kind in ("enum", "literal_error"):
        valid = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        near = get_close_matches(str(value).lower(), valid, 1, 0.6)
        if near and len(valid) > 8:
            return f"{shown} is not known", f"did you mean {near[0]}?"
        hint = f"did you mean {near[0]}?" if near else ""
        return f"{shown} is not one of {', '.join(valid)}", hint
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        unit = " characters" if kind.startswith("string") else ""
        size = f"{len(value)}{unit}"
        if kind.endswith("short"):
            return f"has {size}, too few", f"give at least {context.get('min_length')}{unit}"
        return f"has {size}, too many", f"give at most {context.get('max_length')}{unit}"
    if kind == "string_pattern_mismatch":
        return f"{shown or 'this'} does not have the form {context.get('pattern')}", ""
    return ("cannot be used" if secret else str(error["msg"])), ""


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        return quoted(str(value.value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)[:60]
    return quoted(str(value))


def _number(value: Any) -> str:
    """Return the hint for what is no number: how it would be one."""
    if not isinstance(value, str):
        return ""
    if NUMBER.fullmatch(value.strip()):
        return "leave the quotes out"
    try:
        return f"in seconds: {parse_duration(value):g}"
    except ValueError:
        return ""


def _range(metadata: tuple[Any, ...]) -> str:
    """Return the hint for a number with the bounds in `metadata`."""
    low, above = _bound(metadata, "ge"), _bound(metadata, "gt")
    high, below = _bound(metadata, "le"), _bound(metadata, "lt")
    if low is not None and high is not None:
        return f"give {low:.12g} to {high:.12g}"
    parts = [
        f"{low:.12g} or more" if low is not None else "",
        f"more than {above:.12g}" if above is not None else "",
        f"at most {high:.12g}" if high is not None else "",
        f"less than {below:.12g}" if below is not None else "",
    ]
    return "give " + ", ".join(part for part in parts if part)


def _bound(metadata: tuple[Any, ...], name: str) -> float | None:
    for constraint in metadata:
        bound = getattr(constraint, name, None)
        if bound is not None:
            return float(bound)
    return None


def nearest(name: str, valid: list[str]) -> str:
    """Return the hint for a name that is none of the valid ones."""
    near = get_close_matches(name.lower(), valid, 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(valid)}"


def elsewhere(name: str, places: Iterable[tuple[str, str]]) -> str:
    """Return the hint for a key that stands in the wrong place, "" for one that is known nowhere.

    Args:
        name: the key.
        places: all keys, and what they stand in.
    """
    at = sorted({place or "the file itself, beside services"
                 for key, place in places if key == name})
    return f"it stands in {' or '.join(at)}" if at else ""
