"""Counting every attempt exactly once, whatever retries, fallbacks, caches and disconnects do.

No single LiteLLM hook sees every attempt end. This scheme counted 29 of 29 cases right on a real
proxy (reference/litellm.md) and is pinned by ``tests/integration/test_attempts.py``:

* the deployment's pre-call hook opens an attempt; one that is still open then has been superseded
  by a retry and closes as failed, except the nested call that LiteLLM makes on /v1/messages;
* the deployment's success and failure hooks close it, if their call type is the opener's;
* the iterator hook closes streams: ok, incomplete, failed, disconnected;
* the log event adds tokens and cost and takes back what the cache answered;
* the request's failure hook and a sweeper are the backstops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

from coalmine.gateway.answers import ABORTED, KEPT, Seen, read_answer
from coalmine.gateway.attempt_figures import attempt_of, bound, keep, priced
from coalmine.gateway.causes import in_names
from coalmine.gateway.failures import (
    ERROR_INSIDE,
    GIVEN_UP,
    NEVER_ENDED,
    NO_END,
    REPLACED,
    FailureLog,
)
from coalmine.gateway.fleet import Fleet
from coalmine.gateway.outcomes import outcome_of
from coalmine.gateway.turns import OpenAttempt, Turn
from coalmine.guardrails import Attempt, Outcome
from coalmine.routing import Arm, RoutingPlan

FURTHER = 1.5
"""How many times longer it must have run to be told of again: eleven times in a minute."""

NESTING = "anthropic_messages"
"""Call type of the hook around LiteLLM's nested call."""


class Sink(Protocol):
    """Where ended attempts go; see :class:`coalmine.gateway.collector.Collector`."""

    def wait(self, attempt: Attempt) -> int:
        """Take note of one of which more will be told."""

    def void(self, waited: int) -> None:
        """Forget one that waited."""

    def add(self, attempt: Attempt, waited: int | None = None) -> None:
        """Take one, in the place of the one that waited."""


class Accounts:
    """Opens and closes attempts.

    Args:
        sink: takes attempts that have ended.
        count: adds to a counter (metric, labels …).
        plan: returns a service's plan, None where there is none.
        fleet: returns the deployments as they are now.
        wall: unix seconds; mono: monotonic seconds.
        watch: is told of each attempt that is evidence as soon as it has ended, and before that it
            still runs.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        count: Callable[..., None],
        plan: Callable[[str], RoutingPlan | None],
        fleet: Callable[[], Fleet],
        wall: Callable[[], float],
        mono: Callable[[], float],
        watch: Callable[[Attempt], None] = lambda attempt: None,
    ) -> None:
        self._sink = sink
        self._ended = sink.add
        self._watch = watch
        self._count = count
        self._plan = plan
        self._fleet = fleet
        self._wall = wall
        self._mono = mono
        self._in_flight: Counter[str] = Counter()
        self._failures = FailureLog()
        self._shipping = Lock()

    def in_flight(self) -> dict[str, int]:
        """Open attempts by ``service/release``."""
        return {name: n for name, n in list(self._in_flight.items()) if n > 0}

    # opening ---------------------------------------------------------------------------------

    def opened(self, turn: Turn, deployment: str, call_type: str) -> None:
        """An attempt begins at `deployment`."""
        running = turn.open
        if running is not None:
            if running.deployment == deployment and running.call_type == NESTING != call_type:
                return
            self.superseded(turn)
        self._ship_pending(turn)
        if turn.decision is None:
            turn.service = self._counted_under(deployment)
        release, arm = self._belongs(turn.service, self._plan(turn.service), deployment)
        if turn.decision is None and (arm is Arm.CANDIDATE or turn.tries):
            # Nobody gave it an arm: it is counted where it goes, and moves no guardrail.
            arm = None
        turn.aborted = False
        turn.told = None
        turn.open = OpenAttempt(deployment, call_type, release, arm, self._mono())
        turn.finished = None
        self._in_flight[f"{turn.service}/{release}"] += 1

    def _counted_under(self, deployment: str) -> str:
        """Return the service of an attempt that was given no arm: that of the deployment.

        What no policy names is counted under LiteLLM's group: a client's own word for it, of a
        wildcard group, would make a series of each.
        """
        fleet = self._fleet()
        place = fleet.places.get(deployment)
        return place.service if place is not None else fleet.groups.get(deployment, "other")

    def _belongs(self, service: str, plan: RoutingPlan | None, deployment: str
                 ) -> tuple[str, Arm | None]:
        """Return release and arm of a deployment: what its slot holds now."""
        place = self._fleet().places.get(deployment)
        if plan is None or place is None or place.service != service:
            return "", None
        if plan.candidate and plan.slots.get(plan.candidate) is place.slot:
            return plan.candidate, Arm.CANDIDATE
        if plan.slots.get(plan.stable) is place.slot:
            return plan.stable, Arm.STABLE
        other = next((name for name, slot in plan.slots.items() if slot is place.slot), "")
        return other, None

    def superseded(self, turn: Turn) -> None:
        """Another attempt follows: one that is still open has failed on the way."""
        if turn.open is not None:
            self._close(turn, Outcome.ERROR, why=REPLACED)

    # closing ---------------------------------------------------------------------------------

    def succeeded(self, turn: Turn, answer: Any, call_type: str) -> Seen | None:
        """A deployment answered without a stream. Returns what it said when it closed one."""
        running = turn.open
        if running is None:
            return None
        if running.streaming or running.call_type != call_type:
            self.nested(turn, answer)
            return None
        seen = read_answer(answer)
        keep(turn, seen)
        outcome, why = Outcome.OK, ""
        if seen.failed:
            outcome, why = Outcome.ERROR, ERROR_INSIDE
        elif turn.aborted or seen.finish in ABORTED:
            outcome, why = Outcome.INCOMPLETE, GIVEN_UP
        self._close(turn, outcome, tokens=seen.tokens, why=why)
        return seen

    def nested(self, turn: Turn, answer: Any) -> None:
        """The nested call on /v1/messages was answered; what LiteLLM makes of it hides an abort."""
        if turn.open is not None and turn.open.call_type == NESTING:
            turn.aborted = turn.aborted or read_answer(answer).finish in ABORTED

    def failed(self, turn: Turn, error: BaseException, call_type: str) -> None:
        """A deployment's attempt failed before any answer."""
        running = turn.open
        if running is None or running.call_type != call_type:
            return
        self._close_by(turn, error)

    def content(self, turn: Turn, seen: Seen) -> None:
        """A chunk of a stream went by."""
        running = turn.open
        if running is None:
            return
        running.streaming = True
        if seen.content:
            self._heard(running)
        keep(turn, seen)

    def text(self, turn: Turn, text: str) -> None:
        """A chunk of a stream went by that holds one piece of text and nothing else."""
        running = turn.open
        if running is None:
            return
        self._heard(running)
        if turn.history is not None and len(turn.answer) < KEPT:
            turn.answer += text

    def _heard(self, running: OpenAttempt) -> None:
        running.last = self._mono()
        if running.first is None:
            running.first, running.streaming = running.last, True
        else:
            running.gaps += 1

    def streamed(self, turn: Turn, whole: Seen, error: BaseException | None = None,
                 finished: bool | None = None) -> None:
        """A stream ended, by itself or with `error`.

        `finished` says whether the engine itself ended it, None where that is not known.
        """
        if turn.open is None:
            return
        if error is not None:
            self._close_by(turn, error, whole.tokens)
        elif whole.failed:
            self._close(turn, Outcome.ERROR, whole.tokens, ERROR_INSIDE)
        elif turn.aborted or whole.finish in ABORTED:
            self._close(turn, Outcome.INCOMPLETE, whole.tokens, GIVEN_UP)
        elif finished is False or whole.finish is None:
            self._close(turn, Outcome.INCOMPLETE, whole.tokens, NO_END)
        else:
            self._close(turn, Outcome.OK, whole.tokens)

    def cached(self, turn: Turn) -> None:
        """LiteLLM's cache answered: there was no attempt. But a conversation may have begun."""
        running = turn.open
        release = running.release if running else (turn.pending[0].release if turn.pending else "")
        if running is not None:
            self._leave(turn, running)
        elif turn.pending is None:
            return
        turn.open = None
        waiting = self._taken(turn)
        if waiting is not None:
            self._sink.void(waiting[1])
        turn.finished = self._mono()
        self._count("coalmine_cached_total", turn.service, release)
        decision = turn.decision
        if turn.first and decision is not None and decision.evidence:
            began = attempt_of(turn, Outcome.WAITING, "", release, decision.arm,
                               at=self._wall(), seconds=0.0)  # nothing runs
            self._watch(began)
            self._ended(began)

    def logged(self, turn: Turn, tokens: int | None, cost: float | None) -> None:
        """The log event came: tokens and cost of the attempt are known.

        On streams of messages and responses it comes before the stream's end.
        """
        if turn.open is not None and turn.open.streaming:
            turn.told = (tokens, cost)
            return
        waiting = self._taken(turn)
        if waiting is not None:
            self._ended(priced(waiting[0], tokens, cost), waiting[1])

    def request_failed(self, turn: Turn, error: BaseException) -> None:
        """The whole request failed; what is still open failed with it."""
        if turn.open is not None and not turn.open.streaming:
            self._close_by(turn, error)
        elif turn.open is None and turn.finished is None:
            turn.finished = self._mono()

    def lost(self, turn: Turn) -> None:
        """A request that never ended is given up."""
        if turn.open is not None:
            self._close(turn, Outcome.TIMEOUT, why=NEVER_ENDED)
        self._ship_pending(turn)

    def down(self, turn: Turn, plan: RoutingPlan) -> None:
        """The candidate had no deployment left for this request."""
        self._ended(attempt_of(turn, Outcome.DOWN, "", plan.candidate or "", Arm.CANDIDATE,
                               at=self._wall(), seconds=0.0))

    def settle(self, turn: Turn, older_than: float) -> None:
        """Ship an ended attempt whose log event does not come."""
        pending = turn.pending
        if pending is not None and self._wall() - pending[0].at > older_than:
            self._ship_pending(turn)

    def waiting(self, turn: Turn) -> None:
        """Tell of an attempt that still runs, from time to time: a hang is evidence at once.

        Called from a thread; an attempt that ends meanwhile is told of once more at most, by what
        was true of it.
        """
        running, decision = turn.open, turn.decision
        if running is None or decision is None or not decision.evidence or running.arm is None:
            return
        waited = self._mono() - running.began
        if waited < running.told_at:
            return
        running.told_at = waited * FURTHER
        attempt = self._told(turn, Outcome.WAITING, running)
        bound(attempt, turn, running, self._mono())
        if running.first is not None:
            attempt.tokens = running.gaps + 1
        self._watch(attempt)
        self._ended(attempt)

    def _leave(self, turn: Turn, running: OpenAttempt) -> None:
        name = f"{turn.service}/{running.release}"
        self._in_flight[name] -= 1
        if self._in_flight[name] <= 0:
            del self._in_flight[name]

    def _told(self, turn: Turn, outcome: Outcome, running: OpenAttempt,
              tokens: int | None = None) -> Attempt:
        return attempt_of(turn, outcome, running.deployment, running.release, running.arm,
                          at=self._wall(), seconds=self._mono() - running.began,
                          running=running, tokens=tokens)

    def _close_by(self, turn: Turn, error: BaseException, tokens: int | None = None) -> None:
        self._close(turn, outcome_of(error, client_timeout=turn.client_timeout), tokens,
                    in_names(error))

    def _close(self, turn: Turn, outcome: Outcome, tokens: int | None = None,
               why: str = "") -> None:
        running = turn.open
        assert running is not None
        turn.open = None
        turn.ended += 1
        turn.finished = self._mono()
        self._leave(turn, running)
        attempt = self._told(turn, outcome, running, tokens)
        if outcome is Outcome.DISCONNECT:
            bound(attempt, turn, running, self._mono())
        if attempt.evidence:
            self._watch(attempt)
        if attempt.failed:
            self._failures.note(attempt, why)
            turn.tried.add(running.deployment)
            if running.arm is not None:
                turn.failed.add(running.arm)
        if outcome in (Outcome.CLIENT_ERROR, Outcome.DISCONNECT) and turn.rescue is not None:
            # What the client caused would fail at stable too: LiteLLM reads this very list when
            # it looks for a fallback, so it finds what it would have had without us.
            turn.rescue[:] = turn.usual or []
        if running.arm is Arm.STABLE and Arm.CANDIDATE in turn.failed and outcome is Outcome.OK:
            self._count("coalmine_rescued_total", turn.service, turn.moved_from or "")
        if outcome is not Outcome.OK:
            self._ended(attempt)
        elif turn.told is not None:
            self._ended(priced(attempt, *turn.told))
        else:
            # Tokens and cost come with the log event.
            turn.pending = attempt, self._sink.wait(attempt)

    def _ship_pending(self, turn: Turn) -> None:
        waiting = self._taken(turn)
        if waiting is not None:
            self._ended(*waiting)

    def _taken(self, turn: Turn) -> tuple[Attempt, int] | None:
        """Take the attempt that waits, so that nobody ships it twice: the sweeper is a thread."""
        with self._shipping:
            pending, turn.pending = turn.pending, None
        return pending
