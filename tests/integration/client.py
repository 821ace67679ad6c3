"""Raw HTTP to the proxy: what goes over the wire is written here, and what comes back is read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

ENDPOINTS = ("chat", "completions", "messages", "responses", "embeddings")
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


def body_of(
    endpoint: str, model: str, text: str, stream: bool = False, **more: Any
) -> dict[str, Any]:
    """A request's body: one message of a user."""
    body: dict[str, Any] = {"model": model}
    if endpoint == "chat":
        body["messages"] = [{"role": "user", "content": text}]
    elif endpoint == "messages":
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 100}
    elif endpoint == "completions":
        body["prompt"] = text
    else:
        body["input"] = text
    if stream:
        body["stream"] = True
    return body | more


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str
    events: list[Any] = field(default_factory=list)
    broken: str = ""
    """How the connection broke, empty when it did not."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def release(self) -> str | None:
        """Which release Coalmine says has answered."""
        return self.headers.get("x-coalmine-release")

    @property
    def arm(self) -> str | None:
        """Which arm it says."""
        return self.headers.get("x-coalmine-arm")

    @property
    def moved(self) -> str | None:
        """Which release it says the conversation has left."""
        return self.headers.get("x-coalmine-moved")

    @property
    def said(self) -> str:
        """What the model said; simulated engines begin with their release in brackets."""
        if self.events:
            return "".join(map(_said, self.events))
        try:
            return _said(self.json())
        except ValueError:
            return ""

    @property
    def spoke(self) -> str:
        """The release that spoke, by its own words."""
        return self.said.partition("]")[0].removeprefix("[") if self.said.startswith("[") else ""

    @property
    def models(self) -> set[str]:
        """The names of the model in the body."""
        found = set()
        for event in self.events or [self.json()]:
            if isinstance(event, dict):
                for holder in (event, event.get("message"), event.get("response")):
                    if isinstance(holder, dict) and isinstance(holder.get("model"), str):
                        found.add(holder["model"])
        return found

    @property
    def errors(self) -> list[Any]:
        """Errors in the body, streamed or not."""
        whole = self.events or ([self.json()] if self.text.startswith("{") else [])
        return [
            event
            for event in whole
            if isinstance(event, dict)
            and (event.get("error") or event.get("type") in ("error", "response.failed"))
        ]

    @property
    def good(self) -> bool:
        """Whether a user would be content."""
        return (
            self.status == 200
            and not self.errors
            and not self.broken
            and bool(self.said or "embedding" in self.text)
        )

    def __str__(self) -> str:
        ours = {k: v for k, v in self.headers.items() if k.startswith("x-coalmine")}
        return f"{self.status} {ours} {self.broken} {self.text[:1500]}"


def _said(body: Any) -> str:
    """Text that one answer, or one event of a stream, adds."""
    if not isinstance(body, dict):
        return ""
    said = ""
    for choice in body.get("choices") or ():
        part = choice.get("delta") or choice.get("message") or {}
        said += part.get("content") or choice.get("text") or ""
    for item in body.get("output") or ():
        for part in item.get("content") or ():
            said += part.get("text") or ""
    if body.get("type") == "message":
        said += "".join(block.get("text") or "" for block in body.get("content") or ())
    if body.get("type") == "content_block_delta":
        said += body["delta"].get("text") or ""
    if body.get("type") == "response.output_text.delta":
        said += body.get("delta") or ""
    return said


def _event(line: str) -> Any:
    try:
        return json.loads(line.removeprefix("data:").strip())
    except ValueError:
        return line.removeprefix("data:").strip()


class Client:
    """A client with one key.

    Args:
        url: the proxy's address.
        key: sent as bearer; None sends none.
    """

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        # Reading certificates would take longer than most tests, and there is no TLS here.
        self.http = httpx.Client(
            base_url=url,
            headers=headers,
            trust_env=False,
            verify=False,
            timeout=30,
            limits=httpx.Limits(max_connections=100),
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return _answer(self.http.get(path, headers=headers))

    def post(
        self, path: str, body: Any = None, headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        """POST JSON (bytes go as they are)."""
        return self._send("POST", path, body, headers)

    def put(self, path: str, body: Any = None) -> Answer:
        """PUT JSON."""
        return self._send("PUT", path, body, None)

    def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str | bytes] | None
    ) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        request = self.http.build_request(
            method,
            path,
            content=data,
            headers=[
                (b"content-type", b"application/json"),
                *(
                    (name.encode(), value if isinstance(value, bytes) else value.encode())
                    for name, value in (headers or {}).items()
                ),
            ],
        )
        return _answer(self.http.send(request))

    def ask(
        self,
        endpoint: str,
        model: str,
        text: str,
        *,
        stream: bool = False,
        headers: Mapping[str, str | bytes] | None = None,
        session: str | None = None,
        **more: Any,
    ) -> Answer:
        """Ask a model one thing and read the answer to its end."""
        sent = dict(headers or {})
        if session is not None:
            sent["x-coalmine-session"] = session
        body = body_of(endpoint, model, text, stream, **more)
        if not body.get("stream"):
            return self.post(PATHS[endpoint], body, sent)
        with self.streaming(endpoint, body, sent) as response:
            answer = Answer(response.status_code, response.headers, "")
            lines: list[str] = []
            try:
                # Not extend: what came before a break counts.
                for line in response.iter_lines():
                    lines.append(line)  # noqa: PERF402
            except httpx.TransportError as error:
                answer.broken = str(error) or type(error).__name__
            answer.text = "\n".join(lines)
            answer.events = [_event(line) for line in lines if line.startswith("data:")]
            return answer

    @contextlib.contextmanager
    def streaming(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        """A stream to be read, or to be left; its connection is its own."""
        raw = [
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in (headers or {}).items()
        ]
        with self.http.stream("POST", PATHS[endpoint], json=dict(body), headers=raw) as response:
            yield response

    def leave(self, endpoint: str, body: Mapping[str, Any], *, after: float) -> None:
        """Ask, and go away after so many seconds without an answer."""
        with contextlib.suppress(httpx.TimeoutException):
            self.http.post(PATHS[endpoint], json=dict(body), timeout=httpx.Timeout(10, read=after))


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.text)
