"""A Redis URL, read strictly: what we do not know is refused, and nothing is ever shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from coalmine.state.errors import StateRefused

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What the query of a ``rediss://`` URL may name."""


def client_options(url: str) -> dict[str, Any]:
    """Return the client's options for `url`. Certificates are verified, always.

    Raises:
        StateRefused: for a URL that we do not understand; the message shows no part of it that
            may be secret.
    """
    try:
        parts = urlsplit(url)
        host = unquote(parts.hostname or "localhost")
        host.encode("idna")
    except ValueError:  # its text shows what stands before the host
        raise StateRefused("the Redis URL names no host that can be asked for",
                           "a password with other signs than letters and digits is written with"
                           " %, as %2F for a slash") from None
    try:
        port = parts.port or 6379
    except ValueError:
        raise StateRefused("the port in the Redis URL is no number") from None
    database = unquote(parts.path).strip("/") or "0"
    if not database.isascii() or not database.isdigit():
        raise StateRefused("the path of the Redis URL is no database number", "end it with /0")
    options: dict[str, Any] = {
        "host": host, "port": port, "db": int(database),
    }
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    tls = parts.scheme == "rediss"
    if tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not tls or name not in FILES:
            # Not named: in a password with a question mark it is part of that.
            raise StateRefused(
                f"the query of the {parts.scheme}:// URL has a name that is not known",
                f"known with rediss:// are {', '.join(FILES)}; time limits are the plugin's own; a"
                " question mark in a password is written as %3F",
            )
        if not Path(value).is_file():
            raise StateRefused(f"{name} in the Redis URL: there is no file {value}")
        options[name] = value
    return options
