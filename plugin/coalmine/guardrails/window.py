"""One arm's figures over the last so many seconds, kept up to date attempt by attempt.

The attempts themselves are kept too (a bounded number), so that a breach can be asked again
without its worst key.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from coalmine.guardrails.attempt import NO_CONVERSATION, Attempt, Outcome
from coalmine.guardrails.durations import in_words
from coalmine.guardrails.guardrail import Metric
from coalmine.guardrails.histogram import Histogram, bucket_of

KEPT = 100_000
"""Attempts kept at most in one window; beyond it the oldest leave early."""

FULL = 0.9
"""Share of its span from which on a window is called by it."""

_READ: dict[str, Callable[[Attempt], float | None]] = {
    "ttft": lambda attempt: attempt.ttft,
    "inter_token": lambda attempt: attempt.inter_token,
    "request": lambda attempt: attempt.seconds,
    "tokens_per_request": lambda attempt: attempt.tokens,
    "cost_per_request": lambda attempt: attempt.cost,
    "score": lambda attempt: attempt.score,
}
"""What of an answered attempt goes into a metric, by the metric's name without its percentile."""


class Window:
    """The attempts of one arm within a span.

    Args:
        span: how far back it looks, in seconds.
    """

    def __init__(self, span: float) -> None:
        self.span = span
        self._attempts: deque[Attempt] = deque()
        self._answered = 0
        self._timeouts = 0
        self._other_failures = 0
        self._downs = 0
        self._conversations: dict[str, int] = {}
        self._down: dict[str, int] = {}
        self._callers: dict[str, int] = {}
        self._times = {name: Histogram() for name in ("ttft", "inter_token", "request")}
        self._tokens = 0
        self._with_tokens = 0
        self._cost = 0.0
        self._with_cost = 0
        self._score = 0.0
        self._with_score = 0
        self._first = math.inf
        self._reach = 0.0
        self._cut = False

    def add(self, attempt: Attempt) -> None:
        """Take in one attempt. They come nearly in order; one that comes late is put in its place.

        So one whose worker was cut off for a while, or whose clock runs ahead, neither stays
        longer than the span nor keeps those behind it.
        """
        kept = self._attempts
        self._first = min(self._first, attempt.at)
        if kept and attempt.at < kept[-1].at:
            place = len(kept) - 1
            while place > 0 and kept[place - 1].at > attempt.at:
                place -= 1
            kept.insert(place, attempt)
        else:
            kept.append(attempt)
        self._count(attempt, 1)
        if len(kept) > KEPT:
            self._count(kept.popleft(), -1)
            self._first, self._cut = kept[0].at, True

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._attempts)

    def forget(self, now: float) -> None:
        """Drop what is older than the span."""
        self._reach = now - self._first
        limit = now - self.span
        kept = self._attempts
        while kept and kept[0].at < limit:
            self._count(kept.popleft(), -1)

    def _count(self, attempt: Attempt, sign: int) -> None:
        outcome = attempt.outcome  # told apart by identity: hashing a str Enum is slow
        if outcome is Outcome.OK:
            self._answered += sign
            self._measure(attempt, sign)
        elif outcome is Outcome.ERROR or outcome is Outcome.INCOMPLETE:
            self._other_failures += sign
        elif outcome is Outcome.TIMEOUT:
            self._timeouts += sign
        elif outcome is Outcome.DOWN:
            self._downs += sign
            if attempt.conversation:
                _tally(self._down, attempt.conversation, sign)
            return
        else:
            return
        conversation = attempt.conversation
        if conversation and conversation != NO_CONVERSATION:
            _tally(self._conversations, conversation, sign)
        _tally(self._callers, attempt.caller, sign)

    def _measure(self, attempt: Attempt, sign: int) -> None:
        if attempt.ttft is not None:
            self._times["ttft"].add(bucket_of(attempt.ttft), sign)
        if attempt.inter_token is not None:
            self._times["inter_token"].add(bucket_of(attempt.inter_token), sign)
        self._times["request"].add(bucket_of(attempt.seconds), sign)
        if attempt.tokens is not None:
            self._tokens += sign * attempt.tokens
            self._with_tokens += sign
        if attempt.cost is not None:
            self._with_cost += sign
            # Sums of floats keep a rest of what was taken away; an empty one is exactly 0.
            self._cost = self._cost + sign * attempt.cost if self._with_cost else 0.0
        if attempt.score is not None:
            self._with_score += sign
            self._score = self._score + sign * attempt.score if self._with_score else 0.0

    @property
    def covered(self) -> float:
        """Seconds of its span that it has attempts of: fewer while the rollout is younger, after a
        take-over, and where there are more than :data:`KEPT`. All of it until the clock is known.
        """
        return min(self.span, self._reach or self.span)

    @property
    def covered_in_words(self) -> str:
        """The time it tells of, as people read it: ``1h``, or ``16m of 1h``."""
        words = in_words(self.span)
        return words if self.covered > FULL * self.span else f"{in_words(self.covered)} of {words}"

    @property
    def judged(self) -> int:
        """Attempts in the rates."""
        return self._answered + self._timeouts + self._other_failures

    @property
    def failures(self) -> int:
        """Attempts that count against the release."""
        return self._timeouts + self._other_failures

    @property
    def conversations(self) -> int:
        """Different conversations among the judged attempts."""
        return len(self._conversations)

    @property
    def callers(self) -> int:
        """Different callers among the judged attempts."""
        return len(self._callers)

    def conversations_for(self, metric: Metric, enough: int) -> int:
        """Different conversations that bear on `metric`; of a figure that not all attempts have
        they are counted as far as `enough`.

        For availability also those for which no deployment was left: a candidate that is down for
        everyone would else have too little data for ever.
        """
        if metric is Metric.AVAILABILITY:
            return len(self._conversations.keys() | self._down.keys())
        read = _read(metric)
        if read is None or len(self._conversations) < enough:
            return len(self._conversations)
        found: set[str] = set()
        for attempt in reversed(self._attempts):
            named = attempt.conversation and attempt.conversation != NO_CONVERSATION
            if named and attempt.outcome is Outcome.OK and read(attempt) is not None:
                found.add(attempt.conversation)
                if len(found) >= enough:
                    break
        return len(found)

    def units(self, metric: Metric) -> int:
        """Attempts from which a figure is made."""
        if metric.is_latency or metric.is_whole:
            return self._times[_kind(metric)].total
        if metric is Metric.TOKENS_PER_REQUEST:
            return self._with_tokens
        if metric is Metric.COST_PER_REQUEST:
            return self._with_cost
        if metric is Metric.SCORE:
            return self._with_score
        return self.judged + (self._downs if metric is Metric.AVAILABILITY else 0)

    def bad(self, metric: Metric) -> int:
        """Attempts that speak against the release in a share."""
        if metric is Metric.TIMEOUT_RATE:
            return self._timeouts
        down = self._downs if metric is Metric.AVAILABILITY else 0
        return self.failures + down

    def worst_caller(self, metric: Metric, limit: float, *, lower: bool = False) -> str | None:
        """The caller who does most for a breach of `limit`, None when nobody does anything.

        For a share that is who has most attempts that speak against the release, for a percentile
        who has most values beyond the limit, for a mean who pulls it farthest.
        """
        pull: dict[str, float] = {}
        read = _read(metric)
        for attempt in self._attempts:
            if metric.is_share:
                weight = float(_speaks_against(attempt, metric))
            else:
                value = read(attempt) if read and attempt.outcome is Outcome.OK else None
                beyond = 0.0 if value is None else (limit - value if lower else value - limit)
                weight = float(beyond > 0) if metric.is_latency else beyond
            pull[attempt.caller] = pull.get(attempt.caller, 0.0) + weight
        worst = max(pull, key=pull.__getitem__, default=None)
        return worst if worst is not None and pull[worst] > 0 else None

    def alias_of(self, caller: str) -> str:
        """The key alias of `caller`, or its hash when it has none."""
        return next((a.alias for a in self._attempts if a.caller == caller and a.alias), caller)

    def without(self, caller: str) -> Window:
        """The same window as if `caller` had not called."""
        others = window_of(self.span, (a for a in self._attempts if a.caller != caller))
        others._first, others._reach, others._cut = self._first, self._reach, self._cut
        return others

    def share_without(self, metric: Metric, caller: str) -> tuple[int, int]:
        """Return how many attempts would speak against the release in a share, of how many, as if
        `caller` had not called."""
        others = [a for a in self._attempts if a.caller != caller and (
            a.judged or (a.outcome is Outcome.DOWN and metric is Metric.AVAILABILITY))]
        return sum(_speaks_against(a, metric) for a in others), len(others)

    def value(self, metric: Metric) -> float | None:
        """Return the metric over the window, None without data.

        Rates are shares, latencies seconds (of a whole distribution the median), tokens, cost and
        score a request's mean, and throughput answered attempts a second, which nobody knows
        before the window is filled (or as full as it gets).
        """
        if metric is Metric.AVAILABILITY:
            asked = self.units(metric)
            return self._answered / asked if asked else None
        if metric is Metric.TOKENS_PER_REQUEST:
            return self._tokens / self._with_tokens if self._with_tokens else None
        if metric is Metric.COST_PER_REQUEST:
            return self._cost / self._with_cost if self._with_cost else None
        if metric is Metric.SCORE:
            return self._score / self._with_score if self._with_score else None
        judged = self.judged
        if not judged:
            return None
        if metric.is_share:
            return self.bad(metric) / judged
        if metric is Metric.THROUGHPUT:
            filled = self._reach >= self.span or self._cut
            return self._answered / self.covered if filled else None
        percent = int(metric.value.rpartition("_p")[2]) if metric.is_latency else 50
        return self._times[_kind(metric)].percentiles([percent / 100])[0]


def _kind(metric: Metric) -> str:
    """Return a metric's name without its percentile."""
    return metric.value.rsplit("_p", 1)[0] if metric.is_latency else metric.value


def _read(metric: Metric) -> Callable[[Attempt], float | None] | None:
    """Return what reads a figure of an answered attempt, None where all judged ones count."""
    return _READ.get(_kind(metric))


def _speaks_against(attempt: Attempt, metric: Metric) -> bool:
    if metric is Metric.TIMEOUT_RATE:
        return attempt.outcome is Outcome.TIMEOUT
    down = attempt.outcome is Outcome.DOWN and metric is Metric.AVAILABILITY
    return attempt.failed or down


def _tally(counts: dict[str, int], name: str, sign: int) -> None:
    left = counts.get(name, 0) + sign
    if left:
        counts[name] = left
    else:
        del counts[name]


def window_of(span: float, attempts: Iterable[Attempt]) -> Window:
    """Return a window that holds `attempts`."""
    window = Window(span)
    for attempt in attempts:
        window.add(attempt)
    return window
