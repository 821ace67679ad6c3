"""Moments as the API writes them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment(at: float | None, timespec: str = "milliseconds") -> str | None:
    """Return a unix time as RFC 3339 in UTC."""
    if at is None:
        return None
    text = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec=timespec)
    return text.replace("+00:00", "Z")
