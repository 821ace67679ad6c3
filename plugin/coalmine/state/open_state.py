"""Open the shared state that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from coalmine.state.errors import StateRefused
from coalmine.state.protocol import State
from coalmine.state.sqlite import SqliteState

KNOWN = "sqlite:///file.db, sqlite:////absolute/file.db, redis://… and rediss://…"


def open_state(
    url: str, *, base: Path, deadline: float | None = None, pin_ttl: float = 86400.0
) -> State:
    """Return the state at `url`.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``redis://…``, ``rediss://…``.
        base: the directory to which a relative path is relative.
        deadline: seconds within which a call ends, None for the store's own default.
        pin_ttl: seconds for which a pin is kept after it was last looked at.

    Raises:
        StateRefused: an unknown scheme, a place that is unfit, a Redis that would lose data.
        StateCorrupt: the state is there and damaged.
        StateUnreachable: a SQLite file that others hold locked. A Redis out of reach raises
            nothing here: its calls do, until it is back.
    """
    scheme, separator, _ = url.partition("://")
    options = {"pin_ttl": pin_ttl} | ({} if deadline is None else {"deadline": deadline})
    if separator and scheme == "sqlite":
        return SqliteState(_path(url, base), **options)
    if separator and scheme in ("redis", "rediss"):
        try:
            from coalmine.state.redis_store import RedisState  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "redis":
                raise
            raise StateRefused(
                "the state is in Redis, but its client is not installed",
                "pip install coalmine[redis]",
            ) from None
        return RedisState(url, **options)
    # Only the scheme is shown: the rest of a URL may hold a password.
    shown = scheme if separator and scheme.isidentifier() else "this"
    raise StateRefused(f"the state cannot be kept at a {shown} URL", f"known are {KNOWN}")


def _path(url: str, base: Path) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or parts.query or parts.fragment or len(path) < 2:
        raise StateRefused(
            f"{url} names no file",
            "three slashes for a relative path, four for an absolute one, and nothing after it",
        )
    return base / path[1:]
