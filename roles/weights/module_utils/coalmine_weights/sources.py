"""Where weights may come from, known by how it is written."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from .folder import Folder
from .problems import Unfit
from .rsync import Rsync
from .web import Web

# A source is asked first whether it is ready: it raises NotYet or Wrong where it can tell without a
# transfer. Then it fetches files into folders that are there already, each verified, or raises.

DAEMON = re.compile(r"rsync://[^/\s]+/\S.*")
SSH = re.compile(r"(\w[\w.-]*@)?(\w[\w.-]*|\[[0-9A-Fa-f:.]+\]):/(?!/).*", re.ASCII)
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def parse_source(text: str, headers: dict[str, Any]) -> Folder | Rsync | Web:
    """Return the source that `text` names, or say what it should be."""
    if text.startswith(("http://", "https://")):
        return _parse_url(text, headers)
    if DAEMON.fullmatch(text) or SSH.fullmatch(text):
        return Rsync(text)
    if text.startswith("/"):
        return Folder(text)
    raise Unfit(f"source {text!r}: it must be /a/folder, rsync://host/module/folder, "
                "user@host:/a/folder, http://host/folder or https://host/folder.")


def _parse_url(text: str, headers: dict[str, Any]) -> Web:
    try:
        url = urlsplit(text)
        sound = bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise Unfit(f"source {text!r}: this is not a URL. Write https://host/folder.")
    if "@" in url.netloc:
        raise Unfit("source: the URL holds a user or a password. Hand them over as a header "
                    "(http_headers), which is never shown.")
    if url.query or url.fragment:
        raise Unfit(f"source {text!r}: files' paths are appended to it, so it cannot have a '?' "
                    "or a '#'. Name the folder; a token belongs into http_headers.")
    for name, value in headers.items():
        if not HEADER.fullmatch(name) or not str(value).isprintable():
            raise Unfit(f"http_headers: {name!r} or its value is not one plain line. Mend it.")
    return Web(text, headers)
