"""The one HTTP client of Coalmine's API: for the CLI, Ansible's plugins, and whoever imports it.

It needs requests and nothing else of the CLI. Every method returns the API's JSON object as it
is, or raises a :class:`ClientError`.
"""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError as Urllib3Error

from coalmine import __version__
from coalmine.cli.client_errors import (
    BadAnswer,
    ClientError,
    Misconfigured,
    Refused,
    Unreachable,
    from_exception,
    from_status,
    not_ours,
)

Json = dict[str, Any]

CONNECT_TIMEOUT = 2.0
READ_TIMEOUT = 10.0
HEADERS = {"Accept": "application/json", "User-Agent": f"coalmine/{__version__}"}


BEYOND = frozenset({"v1", "coalmine", "ui", "chat", "health"})
"""Parts of a path that come after the proxy's address; any other may be its root path."""


class Client:
    """Speaks to Coalmine on one proxy.

    Nothing is retried behind the caller's back, save a rollback whose connection was cut (see
    :meth:`rollback`). Redirects are not followed: the key would go along.

    Args:
        url: the proxy's address, with its root path if it has one.
        key: an operator's token or an admin's key; None sends none.
        timeout: seconds to connect, and seconds without a byte of the answer.
        verify: False, True, or the path of a CA file to trust.

    Raises:
        Misconfigured: when one of them cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
        verify: bool | str | os.PathLike[str] = True,
    ) -> None:
        self.url = _checked_url(url)
        self._key = _checked_key(key)
        self._timeout = timeout
        self._verify = verify if isinstance(verify, bool) else _checked_ca(os.fspath(verify))

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def services(self) -> Json:
        """Return ``{"services": [service…]}``."""
        return self._call("GET", "/api/services", holds="services")

    def service(self, service: str) -> Json:
        """Return one service."""
        return self._call("GET", _path(service), holds="phase")

    def history(self, service: str) -> Json:
        """Return ``{"entries": [{at, who, action, reason, before, after}]}``."""
        return self._call("GET", _path(service, "history"), holds="entries")

    def deployments(self) -> Json:
        """Return ``{"deployments": [{service, deployment, attempts, failures, …}]}``."""
        return self._call("GET", "/api/deployments", holds="deployments")

    def healthz(self) -> Json:
        """Return what the plugin says of its own health."""
        return self._call("GET", "/healthz")

    def start(
        self, service: str, release: str, reason: str = "", epoch: int | None = None
    ) -> Json:
        """Begin a rollout of `release`; refused when the service is not at `epoch`."""
        return self._verb(service, "start", release=release, reason=reason, epoch=epoch)

    def pause(self, service: str, reason: str = "", epoch: int | None = None) -> Json:
        """Keep the weight where it is until somebody resumes."""
        return self._verb(service, "pause", reason=reason, epoch=epoch)

    def resume(self, service: str, reason: str = "", epoch: int | None = None) -> Json:
        """Go on where it was paused."""
        return self._verb(service, "resume", reason=reason, epoch=epoch)

    def promote(
        self, service: str, full: bool = False, reason: str = "", epoch: int | None = None
    ) -> Json:
        """Go to the next step, or with `full` to the last one."""
        return self._verb(service, "promote", full=full or None, reason=reason, epoch=epoch)

    def rollback(self, service: str, reason: str, to: str | None = None) -> Json:
        """Send every new request to stable again.

        When the connection is cut it is asked once more, since a second rollback changes nothing.
        The exception is an idle service without `to`: there a rollback goes to the release
        before, and a second one would go forward again. So that one is left to the caller.
        """
        try:
            return self._verb(service, "rollback", reason=reason, to=to)
        except Unreachable as error:
            if not (error.cut and (to or self._rollout_runs(service))):
                raise
        return self._verb(service, "rollback", reason=reason, to=to)

    def register(
        self, service: str, release: str, slot: str, digest: str | None = None
    ) -> Json:
        """Make known that `release` now runs in `slot`."""
        return self._call("PUT", _path(service, "releases", release), _given(slot=slot,
                                                                             digest=digest))

    def probe(self, service: str, conversation: str) -> str:
        """Ask for a real completion in a new conversation; return the release that gave it.

        The key must be one that may call the service and is shown Coalmine's headers.
        """
        body = {"model": service, "messages": [{"role": "user", "content": "Say yes."}],
                "max_tokens": 1}
        _, answer = self._send("POST", "/v1/chat/completions", body,
                               {"x-coalmine-session": conversation})
        release = answer.headers.get("x-coalmine-release")
        if release is None:
            raise BadAnswer(f"{self.url} answered and names no release",
                            "is Coalmine loaded, and response_headers not off?")
        return str(release)

    def _rollout_runs(self, service: str) -> bool:
        try:
            return bool(self.service(service)["phase"] != "idle")
        except ClientError:
            return False

    def _verb(self, service: str, verb: str, **body: Any) -> Json:
        return self._call("POST", _path(service, verb), _given(**body), holds="phase")

    def _call(self, method: str, path: str, body: Json | None = None, *, holds: str = "") -> Json:
        found, answer = self._send(method, f"/coalmine{path}", body)
        if not isinstance(found, dict) or holds not in ("", *found):
            raise not_ours(self.url, answer.status_code)
        return found

    def _send(self, method: str, path: str, body: Json | None, headers: dict[str, str] | None = None
              ) -> tuple[Any, requests.Response]:
        """Return the JSON of a good answer, None when it is none, and the answer itself."""
        where = self.url
        try:
            # One session a call: a proxy that restarts leaves kept connections dead, and their
            # reset would look like one of this request.
            with requests.Session() as session:
                session.trust_env = not _is_loopback(where)  # no HTTP proxy between us and us
                answer = session.request(
                    method,
                    f"{where}{path}",
                    json=body,
                    headers={**HEADERS, **(headers or {})},
                    auth=_Bearer(self._key),
                    timeout=self._timeout,
                    verify=self._verify,
                    allow_redirects=False,
                )
        except (OSError, Urllib3Error) as error:
            raise from_exception(error, where, changes=method != "GET") from error
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if not answer.ok or answer.is_redirect or answer.status_code >= 300:
            raise self._scrubbed(from_status(answer.status_code, found, where, answer.headers))
        return found, answer

    def _scrubbed(self, error: ClientError) -> ClientError:
        """Take the key out of what the proxy says: LiteLLM's refusals quote parts of the call."""
        if self._key is None:
            if error.status == 401:
                error.hint = "no key was given: set COALMINE_KEY, or name a file with --key-file"
            return error
        error.message = error.message.replace(self._key, "***")
        error.hint = error.hint.replace(self._key, "***")
        error.code = error.code.replace(self._key, "***")
        error.args = (error.message,)
        return error


class _Bearer(AuthBase):
    """Puts the key into its header. Also without a key, so that no ~/.netrc gets its chance."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _path(*parts: str) -> str:
    return "/api/services/" + "/".join(quote(part, safe="") for part in parts)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Misconfigured("the address cannot be read", "write http(s)://HOST:PORT") from None
    if "@" in url:
        raise Misconfigured(
            "the address holds a user or password, which would end up in logs",
            "give the key on its own",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise Misconfigured(f"{url!r} is not the address of a proxy", "write http(s)://HOST:PORT")
    if parts.query or parts.fragment:
        raise Misconfigured("the address has a query or fragment", "write http(s)://HOST:PORT")
    before = parts.path.split("/")
    beyond = next((at for at, part in enumerate(before) if part in BEYOND), None)
    if beyond is not None:
        # People copy the address that their chat clients use.
        root = "/".join(before[:beyond])
        raise Misconfigured(
            f"the address must be the proxy's own, without /{'/'.join(before[beyond:])}",
            f"write {parts.scheme}://{parts.netloc}{root}",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _checked_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if not all("!" <= mark <= "~" for mark in key):  # the libraries' own errors would quote it
        raise Misconfigured("the key has spaces, line breaks or other characters that no key has")
    return key or None


def _checked_ca(path: str) -> str:
    if not os.path.exists(path):
        raise Misconfigured(f"the CA file {path} does not exist")
    return path


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


__all__ = [
    "BadAnswer", "Client", "ClientError", "Json", "Misconfigured", "Refused", "Unreachable",
]
