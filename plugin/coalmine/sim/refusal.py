"""An answer that is an error, in the shapes vLLM gives it."""

from __future__ import annotations

from typing import Any

from coalmine.sim.faults import Outcome

_KINDS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    408: "TimeoutError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}


class Refused(Exception):
    """The engine will not answer this request: HTTP status, message, and what to count it as.

    `in_stream` is vLLM's habit of refusing a full queue inside a stream that says HTTP 200.
    """

    def __init__(
        self,
        status: int,
        message: str,
        outcome: Outcome,
        *,
        param: str | None = None,
        in_stream: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.outcome = outcome
        self.param = param
        self.in_stream = in_stream

    @property
    def kind(self) -> str:
        """vLLM's name for this sort of error."""
        fallback = "InternalServerError" if self.status >= 500 else "BadRequestError"
        return _KINDS.get(self.status, fallback)

    def openai(self) -> dict[str, Any]:
        """The body of vLLM's OpenAI endpoints."""
        error = {"message": self.message, "type": self.kind, "param": self.param}
        return {"error": {**error, "code": self.status}}

    def anthropic(self) -> dict[str, Any]:
        """The body of vLLM's `/v1/messages`."""
        return {"type": "error", "error": {"type": self.kind, "message": self.message}}


def malformed(message: str, param: str | None = None) -> Refused:
    """What the client sent makes no sense: 400."""
    return Refused(400, message, Outcome.INVALID, param=param)


def engine_failure(outcome: Outcome, status: int = 500) -> Refused:
    """The engine broke while it had this request."""
    message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    return Refused(status, message, outcome)
