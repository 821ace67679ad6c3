"""What the HTTP client met, and the two tables that lead there.

ClientError
├── Misconfigured   an address, key or CA file that cannot be used; nothing was sent
├── Unreachable     no answer
├── Refused         a plain no: unknown key, not allowed, another epoch, the wrong phase
└── BadAnswer       an answer that is not Coalmine's, or that says it broke
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from requests import exceptions as rq
from urllib3.exceptions import HTTPError as Urllib3Error

from coalmine.cli.text import one_line
from coalmine.release.errors import CoalmineError

UNKNOWN_OUTCOME = "whether it was done is not known: look at the status before you try again"
NOT_LOADED = (
    "is Coalmine loaded in that proxy? litellm_settings.callbacks must hold coalmine.plugin"
)


class ClientError(CoalmineError):
    """The root of what the client raises.

    Args:
        message: what is wrong, in one line.
        hint: what to do about it.
        code: the API's code for it.
        status: the HTTP status, None when there was no answer.
    """

    code = "client_error"

    def __init__(
        self, message: str, hint: str = "", *, code: str = "", status: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.code = code or type(self).code
        self.status = status


class Misconfigured(ClientError):
    """An address, key or CA file that cannot be used; nothing was sent."""

    code = "misconfigured"


class Unreachable(ClientError):
    """There was no answer.

    Attributes:
        cut: the connection was reset, so that the request may or may not have been carried out.
    """

    code = "unreachable"
    cut = False


class Refused(ClientError):
    """The API said no, in words; nothing was changed."""

    code = "refused"


class BadAnswer(ClientError):
    """An answer that is not Coalmine's, or that says it broke."""

    code = "bad_answer"


class Fault(NamedTuple):
    """How one exception of the library reads: `{where}` and `{cause}` are filled in."""

    error: type[ClientError]
    message: str
    hint: str = ""


_ADDRESS = Fault(Misconfigured, "the address {where} cannot be used", "write http(s)://HOST:PORT")
_BROKEN = Fault(BadAnswer, "the answer of {where} broke off or cannot be decoded")
_GONE = Fault(
    Unreachable, "cannot reach {where}{cause}", "is the proxy up, and is the address right?"
)

EXCEPTIONS: dict[type[BaseException], Fault] = {
    rq.ConnectTimeout: Fault(
        Unreachable, "no connection to {where} in time", "is the address right, is a firewall shut?"
    ),
    rq.ReadTimeout: Fault(Unreachable, "{where} took the request but did not answer in time"),
    rq.Timeout: Fault(Unreachable, "{where} did not answer in time"),
    rq.ProxyError: Fault(
        Unreachable, "the HTTP proxy on the way to {where} failed{cause}",
        "look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    ),
    rq.SSLError: Fault(
        Unreachable, "no trusted connection to {where}{cause}",
        "name the CA that signed its certificate",
    ),
    rq.ConnectionError: _GONE,
    rq.RetryError: _GONE,
    rq.ChunkedEncodingError: _BROKEN,
    rq.ContentDecodingError: _BROKEN,
    rq.StreamConsumedError: _BROKEN,
    rq.InvalidJSONError: _BROKEN,
    rq.JSONDecodeError: _BROKEN,
    rq.HTTPError: _BROKEN,
    rq.TooManyRedirects: Fault(BadAnswer, "{where} redirects for ever"),
    rq.URLRequired: _ADDRESS,
    rq.MissingSchema: _ADDRESS,
    rq.InvalidSchema: _ADDRESS,
    rq.InvalidURL: _ADDRESS,
    rq.InvalidProxyURL: Fault(
        Misconfigured, "the HTTP proxy on the way to {where} has an unusable address",
        "look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    ),
    rq.InvalidHeader: Fault(Misconfigured, "the key has characters that no header may hold"),
    rq.UnrewindableBodyError: _BROKEN,
    rq.RequestException: _GONE,
    Urllib3Error: _GONE,  # for what requests lets through
    OSError: _GONE,
}
"""Exception of requests → our error. A test walks them all; a subclass counts as its parent."""


def from_exception(error: BaseException, where: str, *, changes: bool) -> ClientError:
    """Return our error for what requests raised.

    Args:
        error: what was raised. Its text is never shown: it may quote headers.
        where: the address without secrets.
        changes: the request asked for a change, so silence leaves its outcome open.
    """
    fault = next(EXCEPTIONS[kind] for kind in type(error).__mro__ if kind in EXCEPTIONS)
    cause, cut = _cause(error)
    hint = fault.hint
    if changes and (cut or fault.error is BadAnswer or _sent(error)):
        hint = UNKNOWN_OUTCOME
    ours = fault.error(fault.message.format(where=where, cause=f": {cause}" if cause else ""), hint)
    if isinstance(ours, Unreachable):
        ours.cut = cut
    return ours


def _sent(error: BaseException) -> bool:
    """Whether the request had left when silence set in."""
    return isinstance(error, rq.Timeout) and not isinstance(error, rq.ConnectTimeout)


def _chain(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """Yield `error` and what lies below it; urllib3 hides causes in `args` and `reason`."""
    yield error
    below = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    if depth < 6:
        for inner in below:
            if isinstance(inner, BaseException):
                yield from _chain(inner, depth + 1)


def _cause(error: BaseException) -> tuple[str, bool]:
    """Return the cause in words, and whether the connection was cut."""
    chain = list(_chain(error))
    for inner in chain:
        if isinstance(inner, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)):
            return "the connection was cut", True
        if isinstance(inner, ConnectionRefusedError):
            return "connection refused", False
        if isinstance(inner, socket.gaierror):
            return "its name is not known", False
        if isinstance(inner, ssl.SSLCertVerificationError):
            return one_line(inner.verify_message), False
        if isinstance(inner, ssl.SSLError) and inner.reason:
            return one_line(inner.reason).replace("_", " ").lower(), False
    strerror = next((e.strerror for e in chain if isinstance(e, OSError) and e.strerror), "")
    return one_line(strerror), False


STATUSES: tuple[tuple[range, type[ClientError]], ...] = (
    (range(300, 400), BadAnswer),
    (range(400, 500), Refused),
)
"""HTTP status → our error; what is in no row, 5xx above all, is a BadAnswer."""


def from_status(status: int, body: Any, where: str, headers: Mapping[str, str]) -> ClientError:
    """Return our error for an answer that is not a success.

    Args:
        status: the HTTP status.
        body: the decoded JSON, None when it was none.
        where: the address without secrets.
        headers: the answer's headers.
    """
    kind = next((kind for row, kind in STATUSES if status in row), BadAnswer)
    said = body.get("error") if isinstance(body, dict) else None
    if 300 <= status < 400:
        target = one_line(headers.get("location", "elsewhere"), 120)
        return BadAnswer(
            f"{where} redirects to {target}, and a key is not sent after a redirect",
            "give the final address", code="redirect", status=status,
        )
    if isinstance(said, dict) and isinstance(said.get("message"), str):
        return kind(
            one_line(said["message"]) or f"HTTP {status} from {where}",
            one_line(said.get("hint") or ""),
            code=one_line(said.get("code") or ""),
            status=status,
        )
    if status in (401, 403):
        words = "the key is not known" if status == 401 else "the key may not do that"
        return Refused(f"{words} (HTTP {status} from {where})", status=status)
    if status >= 500:
        return BadAnswer(f"{where} broke (HTTP {status})", "look at the proxy's log", status=status)
    return not_ours(where, status)


def not_ours(where: str, status: int) -> BadAnswer:
    """Return the error for an answer that somebody else gave."""
    path = urlsplit(where).path
    hint = f"leave {path} out unless the proxy runs under it; {NOT_LOADED}" if path else NOT_LOADED
    return BadAnswer(
        f"{where} answers, but not as Coalmine does (HTTP {status})", hint, status=status
    )
