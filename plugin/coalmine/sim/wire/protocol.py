"""What an API's wire format must be able to say about an answer."""

from __future__ import annotations

from typing import Any, Protocol

from coalmine.sim.answer import Answer
from coalmine.sim.ask import Ask
from coalmine.sim.refusal import Refused


class Wire(Protocol):
    """One API: how it is asked, and how it answers at once or as a stream."""

    path: str
    id_prefix: str

    def parse(self, body: dict[str, Any]) -> Ask:
        """Read a request; raises Refused when it is malformed."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The answer in one piece."""

    def opening(self, answer: Answer) -> bytes:
        """Events before the first token."""

    def piece(self, answer: Answer, index: int) -> bytes:
        """The event for one token."""

    def closing(self, answer: Answer) -> bytes:
        """Events after the last token, [DONE] included where the API has it.

        An answer whose `finish` is None ends without saying why.
        """

    def failure(self, refused: Refused) -> bytes:
        """Events for an error inside a stream, up to the end of it."""

    def refusal(self, refused: Refused) -> dict[str, Any]:
        """The body of an HTTP error."""
