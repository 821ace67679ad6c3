"""Events: attempts as lines that outlive a gateway, and back.

One JSON object a line, in time order; ``docs/replay.md`` has the table of its fields. Lines come
from anywhere, so a reader believes none: what cannot be is left out and counted, never raised.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from coalmine.guardrails import NO_CONVERSATION, Attempt, Outcome
from coalmine.record.json_lines import parse
from coalmine.record.order import Order
from coalmine.routing import Arm

REASONS: dict[str, str] = {
    "malformed": "no JSON object, or a field is missing, of a wrong type, or of an unknown value",
    "other_service": "of another service than the one that is read; no fault",
    "clock": "its time is no number of seconds, or more than 7 days ahead",
    "out_of_order": "its time is before the last one's",
    "duplicate": "seen before, or a first turn or an end after the conversation's end",
    "unknown_release": "of a release that is not its arm's",
    "chance": "the chance is none; it stays, and is no evidence",
    "measure": "a measure is none; it stays, without the measure",
}
"""Why an event was left out, or in the last two what of it was; in words."""

LONGEST_TEXT = 512
"""Characters of a conversation's, a release's or a key's text; hashes are much shorter."""

MOST = 2**63 - 1
"""The largest whole number: turns and tokens."""

_LARGEST = sys.float_info.max
_NO_CONVERSATION = frozenset({"", NO_CONVERSATION})

_OUTCOMES: dict[Any, Outcome] = {
    outcome.value: outcome
    for outcome in Outcome
    if outcome not in (Outcome.DOWN, Outcome.WAITING)
}
_ARMS: dict[Any, Arm | None] = {None: None, **{arm.value: arm for arm in Arm}}

RECORDED = frozenset(_OUTCOMES.values())
"""The outcomes that an event can have: those of attempts that were made and have ended."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A conversation has ended.

    Attributes:
        at: unix seconds.
        conversation: what stands for it.
    """

    at: float
    conversation: str


Event = Attempt | Closed


STRANGERS = 10
"""Unknown releases that are remembered by name."""


class Reader:
    """Reads the events of one rollout.

    Args:
        service: the service; events that name another are passed over.
        stable: stable's release, None for that of the first attempt on stable.
        candidate: the candidate's, the same way.

    Attributes:
        stable, candidate: the releases, as far as they are known by now.
        faults: how many events were left out, or had something left out, by reason
            (:data:`REASONS`).
        strangers: some releases of events that were left out as of none of the two, and their
            arms.
    """

    def __init__(
        self, service: str, *, stable: str | None = None, candidate: str | None = None
    ) -> None:
        self.stable = stable
        self.candidate = candidate
        self.faults: Counter[str] = Counter()
        self.strangers: dict[str, str] = {}
        self._service = service
        self._order = Order()

    def events(self, lines: Iterable[Any]) -> Iterator[Event]:
        """Yield what `lines` hold (see :meth:`read`), in time order."""
        for line in lines:
            event = self.read(line)
            if event is not None:
                yield event

    def read(self, line: Any) -> Event | None:
        """Return the event of a line, None for one that is left out. Never raises.

        Args:
            line: text or bytes, or the object that was parsed from one. An empty one is nothing.
        """
        if isinstance(line, (str, bytes)):
            fields = parse(line)
            if fields is None and not line.strip():
                return None
        else:
            fields = line
        found = self._event(fields) if isinstance(fields, dict) else "malformed"
        if isinstance(found, str):
            self.faults[found] += 1
            return None
        return found

    def _event(self, fields: dict[str, Any]) -> Event | str:
        """Return the event that an object holds, or why it is left out."""
        at, conversation, closed = fields.get("t"), fields.get("conversation"), fields.get("closed")
        if not ((type(at) is float or type(at) is int) and _is_text(conversation)):
            return "malformed"
        service = fields.get("service")
        if service is not None and service != self._service:
            return "other_service" if _is_text(service) else "malformed"
        if closed is None or closed is False:
            return self._attempt(fields, at, conversation)
        if closed is not True or conversation in _NO_CONVERSATION:
            return "malformed"
        return self._order.close(at, conversation) or Closed(float(at), conversation)

    def _attempt(self, fields: dict[str, Any], at: float, conversation: str) -> Attempt | str:
        try:
            outcome, arm = _OUTCOMES[fields["outcome"]], _ARMS[fields.get("arm")]
        except (KeyError, TypeError):  # unknown; a list or an object
            return "malformed"
        release, key = fields.get("release"), fields.get("key")
        turn = fields.get("turn")
        if type(turn) is float and turn.is_integer():  # as tables that may lack numbers write it
            turn = int(turn)
        if not (
            (turn is None or (type(turn) is int and 0 <= turn <= MOST))
            and (release is None or _is_text(release))
            and (key is None or _is_text(key))
        ):
            return "malformed"
        if not release or not self._known(release, arm):
            if release and len(self.strangers) < STRANGERS:
                self.strangers[release] = arm.value if arm is not None else "no arm"
            return "unknown_release"
        talks = conversation not in _NO_CONVERSATION
        refused = self._order.turn(at, conversation if talks else "", turn)
        if refused:
            return refused
        if arm is Arm.STABLE:
            self.stable = release
        elif arm is Arm.CANDIDATE:
            self.candidate = release
        chance = fields.get("chance")
        if chance is not None:
            chance = self._number(chance, 1.0, "chance")
        evidence = talks and arm is not None and chance is not None and 0.0 < chance < 1.0
        return Attempt(  # by place, up to the measures: to name all takes 0.5 µs more
            float(at), self._service, release, arm, "", outcome, conversation, key or "", "",
            chance, turn == 0, evidence,
            ttft=self._number(fields.get("ttft")),
            inter_token=self._number(fields.get("inter_token")),
            seconds=self._number(fields.get("seconds")) or 0.0,
            tokens=self._tokens(fields.get("tokens")),
            cost=self._number(fields.get("cost")),
            score=self._number(fields.get("score"), 1.0),
        )

    def _known(self, release: str, arm: Arm | None) -> bool:
        """Whether a release is its arm's, or either's where there is no arm."""
        if arm is None:
            return release in (self.stable, self.candidate)
        wanted = self.stable if arm is Arm.STABLE else self.candidate
        return wanted is None or release == wanted

    def _number(
        self, value: Any, most: float = _LARGEST, reason: str = "measure"
    ) -> float | None:
        """Return a number from 0 to `most`; anything else is none, and counted."""
        if value is None:
            return None
        if (type(value) is float or type(value) is int) and 0 <= value <= most:
            return float(value)
        self.faults[reason] += 1
        return None

    def _tokens(self, value: Any) -> int | None:
        if value is None or (type(value) is int and 0 <= value <= MOST):
            return value
        if type(value) is float and value.is_integer() and 0 <= value <= MOST:
            return int(value)
        self.faults["measure"] += 1
        return None


def to_event(event: Event, turn: int | None = None) -> dict[str, Any]:
    """Return the object that a :class:`Reader` reads back; what is None is not in it.

    Without what is for the gateway alone: the deployment, and the alias, which people chose. The
    chance is there only if the attempt is evidence, as a chance is what makes it that.

    Args:
        event: an attempt with an arm, ended; or a conversation's end.
        turn: the number of the attempt's turn, where it is known and not the first; a first turn
            is always 0.
    """
    if isinstance(event, Closed):
        return {"t": event.at, "conversation": event.conversation, "closed": True}
    found = {
        "t": event.at,
        "service": event.service or None,
        "conversation": event.conversation,
        "turn": 0 if event.first_turn else turn or None,
        "release": event.release,
        "arm": event.arm.value if event.arm is not None else None,
        "chance": event.chance if event.evidence else None,
        "outcome": event.outcome.value,
        "ttft": event.ttft,
        "inter_token": event.inter_token,
        "seconds": event.seconds or None,
        "tokens": event.tokens,
        "cost": event.cost,
        "score": event.score,
        "key": event.caller or None,
    }
    return {name: value for name, value in found.items()
            if value is not None and not (isinstance(value, float) and not math.isfinite(value))}


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that can be kept: not too long, and no half of a character in it."""
    if type(value) is not str or len(value) > LONGEST_TEXT:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
