"""Figures and moments as people read them; what does not apply is a dash."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from coalmine.cli.text import one_line
from coalmine.guardrails.durations import in_words

NONE = "–"


def number(value: Any) -> float | None:
    """Return `value` if it is a number. The JSON comes from elsewhere, perhaps from a newer us."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if ok else None


def percent(value: Any) -> str:
    """Return a weight: 0.1 → ``0.1 %``."""
    found = number(value)
    return NONE if found is None else f"{found:.4g} %"


def share(part: Any, whole: Any) -> str:
    """Return a count and its share: ``12 (0.4 %)``."""
    few, all_ = number(part), number(whole)
    if few is None:
        return NONE
    if not all_:
        return f"{few:.0f}"
    percent = few / all_ * 100
    return f"{few:.0f} ({percent:.2g} %)" if percent < 99 else f"{few:.0f} ({percent:.0f} %)"


def count(value: Any) -> str:
    """Return a count, with a thin gap between thousands."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}".replace(",", " ")


def millis(value: Any) -> str:
    """Return seconds as milliseconds: 0.8123 → ``812``."""
    found = number(value)
    return NONE if found is None else f"{found * 1000:.0f}"


def measured(metric: Any, value: Any) -> str:
    """Return a metric's value with its unit: latencies are times, rates are shares."""
    found, name = number(value), str(metric)
    if found is None:
        return NONE
    if name.rpartition("_p")[2].isdigit() or name in ("ttft", "inter_token", "request"):
        return f"{found * 1000:.0f} ms" if found >= 0.1 else f"{found * 1000:.3g} ms"
    if name.endswith("_rate") or name == "availability":
        return f"{found * 100:.3g} %"
    return f"{found:.4g}"


def moment(value: Any) -> datetime | None:
    """Return an RFC 3339 moment, None when it is none."""
    try:
        # Python 3.10 reads neither a Z nor fractions of other than 3 or 6 digits.
        head, dot, tail = str(value).replace("Z", "+00:00").partition(".")
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        found = datetime.fromisoformat(
            head + (f".{digits[:6]:0<6}{tail[len(digits):]}" if dot else "")
        )
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def age(value: Any, now: float) -> str:
    """Return how long ago a moment was: ``12m 3s``."""
    at = moment(value)
    return NONE if at is None else in_words(int(now - at.timestamp()))


def until(value: Any, now: float) -> str:
    """Return a moment to come and how far it is: ``10:13:00 UTC (48s)``."""
    at = moment(value)
    if at is None:
        return NONE
    left = in_words(math.ceil(at.timestamp() - now))
    return f"{at.astimezone(timezone.utc):%H:%M:%S} UTC ({left})"


def stamp(value: Any) -> str:
    """Return a moment in UTC to the second, or what it was when it is none."""
    at = moment(value)
    return one_line(value) if at is None else f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"
