"""One arm's figures over the last so many seconds, kept up to date attempt by attempt.

The attempts themselves are kept too (a bounded number), so that a breach can be asked again
without its worst key.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

from coalmine.guardrails.attempt import Attempt, Outcome
from coalmine.guardrails.guardrail import Metric
from coalmine.guardrails.histogram import Histogram, bucket_of

KEPT = 100_000
"""Attempts kept at most in one window; beyond it the oldest leave early."""

_TIMES: dict[str, Callable[[Attempt], float | None]] = {
    "ttft": lambda attempt: attempt.ttft,
    "inter_token": lambda attempt: attempt.inter_token,
    "request": lambda attempt: attempt.seconds,
}


class Window:
    """The judged attempts of one arm within a span.

    Args:
        span: how far back it looks, in seconds.
    """

    def __init__(self, span: float) -> None:
        self.span = span
        self._attempts: deque[Attempt] = deque()
        self._outcomes: Counter[Outcome] = Counter()
        self._conversations: Counter[str] = Counter()
        self._callers: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._times = {name: Histogram() for name in _TIMES}
        self._tokens = 0
        self._with_tokens = 0
        self._cost = 0.0
        self._with_cost = 0

    def add(self, attempt: Attempt) -> None:
        """Take in one attempt. They come nearly in order; a late one leaves a little late."""
        self._attempts.append(attempt)
        self._count(attempt, 1)
        if len(self._attempts) > KEPT:
            self._count(self._attempts.popleft(), -1)

    def forget(self, now: float) -> None:
        """Drop what is older than the span."""
        limit = now - self.span
        while self._attempts and self._attempts[0].at < limit:
            self._count(self._attempts.popleft(), -1)

    def _count(self, attempt: Attempt, sign: int) -> None:
        self._outcomes[attempt.outcome] += sign
        if not attempt.judged:
            return
        for counter, name in (
            (self._conversations, attempt.conversation),
            (self._callers, attempt.caller),
        ):
            counter[name] += sign
            if counter[name] <= 0:
                del counter[name]
        if attempt.failed:
            self._failures[attempt.caller] += sign
            return
        for name, read in _TIMES.items():
            value = read(attempt)
            if value is not None:
                self._times[name].add(bucket_of(value), sign)
        if attempt.tokens is not None:
            self._tokens += sign * attempt.tokens
            self._with_tokens += sign
        if attempt.cost is not None:
            self._cost += sign * attempt.cost
            self._with_cost += sign

    @property
    def judged(self) -> int:
        """Attempts in the rates."""
        return self._outcomes[Outcome.OK] + self.failures

    @property
    def failures(self) -> int:
        """Attempts that count against the release."""
        return (
            self._outcomes[Outcome.ERROR]
            + self._outcomes[Outcome.TIMEOUT]
            + self._outcomes[Outcome.INCOMPLETE]
        )

    @property
    def conversations(self) -> int:
        """Different conversations among them."""
        return len(self._conversations)

    @property
    def callers(self) -> int:
        """Different callers among them."""
        return len(self._callers)

    def worst_caller(self) -> str | None:
        """The caller with most failures, None when nobody has any."""
        worst = self._failures.most_common(1)
        return worst[0][0] if worst and worst[0][1] > 0 else None

    def alias_of(self, caller: str) -> str:
        """The key alias of `caller`, or its hash when it has none."""
        return next((a.alias for a in self._attempts if a.caller == caller and a.alias), caller)

    def without(self, caller: str) -> Window:
        """The same window as if `caller` had not called."""
        return window_of(self.span, (a for a in self._attempts if a.caller != caller))

    def value(self, metric: Metric) -> float | None:
        """Return the metric over the window, None without data.

        Rates are shares, latencies seconds, tokens and cost a request's mean, and throughput
        judged attempts a second.
        """
        if metric is Metric.AVAILABILITY:
            asked = self.judged + self._outcomes[Outcome.DOWN]
            return self._outcomes[Outcome.OK] / asked if asked else None
        if metric is Metric.TOKENS_PER_REQUEST:
            return self._tokens / self._with_tokens if self._with_tokens else None
        if metric is Metric.COST_PER_REQUEST:
            return self._cost / self._with_cost if self._with_cost else None
        if not self.judged:
            return None
        if metric is Metric.ERROR_RATE:
            return self.failures / self.judged
        if metric is Metric.TIMEOUT_RATE:
            return self._outcomes[Outcome.TIMEOUT] / self.judged
        if metric is Metric.THROUGHPUT:
            return self._outcomes[Outcome.OK] / self.span
        name, percent = metric.value.rsplit("_p", 1)
        return self._times[name].percentiles([int(percent) / 100])[0]


def window_of(span: float, attempts: Iterable[Attempt]) -> Window:
    """Return a window that holds `attempts`."""
    window = Window(span)
    for attempt in attempts:
        window.add(attempt)
    return window
