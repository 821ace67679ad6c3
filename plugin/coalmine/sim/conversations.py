"""Traffic of a canary as a stream of outcomes: conversations that begin, go on, fail and end.

The verdict engine is tried on it, so it is not kind: the turns of a conversation resemble each
other, failures come in clusters, latencies have a heavy tail, load and errors swing with the hour,
and incidents hit both arms. No clock, no network: a day at ten requests a second is made in
seconds. The same scenario makes the same events; what a regression draws comes from a source of its
own, so a bad candidate meets the very conversations that a healthy one meets.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Iterator
from hashlib import blake2b
from heapq import heappop, heappush, heapreplace
from itertools import accumulate
from math import exp, hypot, log

from coalmine.sim.regressions import fail, worsening
from coalmine.sim.scenarios import Event, Scenario
from coalmine.sim.weather import Weather

GOES_ON, TURNS = 0.75, 30
"""A conversation goes on with this probability, up to so many turns: four on the average."""
PAUSE, THINKING = 3.0, 20.0
"""Seconds between two turns: the least, and the mean of what comes on top."""
CLOSED_AFTER = 40.0
"""Seconds from the last turn to the conversation's end."""

FRAIL_FAILS, FRAIL_SHARE = 0.4, 2 / 3
"""A frail conversation fails this share of its turns; together they cause this share of errors."""
INCIDENT_ERRORS, INCIDENT_LOG = 0.2, 1.0
"""What an incident adds to the error rate, and to the logarithm of times to first token."""
LOG_SWING = 0.3
"""What the swing of the day adds to that logarithm, or takes off it, at most."""

# Medians, and standard deviations of the logarithm: of the conversation itself, and of the turn.
TTFT, TTFT_OWN, TTFT_TURN = 0.3, 0.4, 0.5
TTFT_DEVIATION = hypot(TTFT_OWN, TTFT_TURN)
INTER_TOKEN, INTER_TOKEN_OWN, INTER_TOKEN_TURN = 0.02, 0.1, 0.2
TOKENS, TOKENS_TURN = 150.0, 0.8
DOLLARS_A_TOKEN = 1e-5
# The mean and the standard deviations likewise, before the score is cut to 0 … 1.
SCORE, SCORE_OWN, SCORE_TURN = 0.92, 0.08, 0.10

_CLOSED = -1
"""The number of the turn after the last one."""


class _Conversation:
    """One conversation, and what all its turns have in common."""

    __slots__ = ("fails", "is_candidate", "key", "late", "name", "pace", "scores", "turn")

    def __init__(self, name: str, is_candidate: bool, fails: float, pace: float, scores: float,
                 key: str) -> None:
        self.name = name
        self.is_candidate = is_candidate
        self.fails = fails  # share of its turns
        self.pace = pace  # in standard deviations
        self.scores = scores  # their mean
        self.key = key
        self.turn = 0
        self.late: Event | None = None  # how the turn that runs now will end


def events(scenario: Scenario) -> Iterator[Event]:
    """Yield all that happens, in the order of time.

    An attempt that ended has ``t``, ``conversation``, ``turn``, ``release``, ``arm``, ``chance``,
    ``outcome``; what was measured of it: ``ttft``, ``inter_token``, ``seconds``, ``tokens``,
    ``cost``, ``score``; and ``key``. A conversation's end has ``t``, ``conversation``, ``closed``.
    """
    draw = random.Random(scenario.seed)
    uniform = draw.random
    weather = Weather(draw, seconds=scenario.seconds, swing=scenario.swing,
                      incidents=scenario.incidents)
    begin = _beginning(scenario, draw)
    attempt = _attempts(scenario, draw, weather)
    mean_gap = 1.0 / (scenario.rate * (1.0 - GOES_ON) * weather.peak)
    end, swing, peak = scenario.seconds, scenario.swing, weather.peak

    due: list[tuple[float, int, _Conversation]] = []
    number = 0
    arrival = -log(1.0 - uniform()) * mean_gap
    while True:
        if not due or arrival < due[0][0]:
            if arrival > end:
                return
            if not swing or uniform() * peak < weather.load(arrival):
                number += 1
                heappush(due, (arrival, number, begin(number)))
            arrival -= log(1.0 - uniform()) * mean_gap
            continue
        t, which, conversation = due[0]
        if t > end:
            return
        if conversation.turn == _CLOSED:
            heappop(due)
            yield {"t": t, "conversation": conversation.name, "closed": True}
            continue
        event = conversation.late
        if event is None:
            event = attempt(t, conversation)
            if event["t"] > t:
                conversation.late = event
                heapreplace(due, (event["t"], which, conversation))
                continue
        else:
            conversation.late = None
        yield event
        if conversation.turn < TURNS - 1 and uniform() < GOES_ON:
            conversation.turn += 1
            t += PAUSE - log(1.0 - uniform()) * THINKING
        else:
            conversation.turn = _CLOSED
            t += CLOSED_AFTER
        heapreplace(due, (t, which, conversation))


def _beginning(scenario: Scenario, draw: random.Random) -> Callable[[int], _Conversation]:
    """Return what begins the conversation of a number."""
    uniform, normal = draw.random, draw.gauss
    weight = scenario.weight / 100.0
    frail = scenario.errors * FRAIL_SHARE / FRAIL_FAILS
    seldom = scenario.errors * (1.0 - FRAIL_SHARE) / (1.0 - frail)
    keys = [_key(rank) for rank in range(scenario.keys)]
    shares = list(accumulate(1.0 / (rank + 1) for rank in range(scenario.keys)))

    def begin(number: int) -> _Conversation:
        key = keys[bisect(shares, uniform() * shares[-1])] if keys else ""
        return _Conversation(
            f"c{number}", uniform() < weight, FRAIL_FAILS if uniform() < frail else seldom,
            normal(0.0, 1.0), normal(SCORE, SCORE_OWN), key)

    return begin


def _attempts(scenario: Scenario, draw: random.Random, weather: Weather
              ) -> Callable[[float, _Conversation], Event]:
    """Return what makes the event of a conversation's next turn, which begins at a time."""
    uniform, normal = draw.random, draw.gauss
    wave, hits = weather.wave, weather.hits
    chance, onset, swing = scenario.weight / 100.0, scenario.onset, weather.peak - 1.0
    scored, answers, keyed = scenario.score, scenario.answers, scenario.keys > 0
    worsen = worsening(scenario, random.Random(f"regression {scenario.seed}").random, _key(0))

    def attempt(t: float, conversation: _Conversation) -> Event:
        is_candidate, pace = conversation.is_candidate, conversation.pace
        event: Event = {
            "t": t, "conversation": conversation.name, "turn": conversation.turn,
            "release": "v2" if is_candidate else "v1",
            "arm": "candidate" if is_candidate else "stable", "chance": chance, "outcome": "ok",
        }
        hour = wave(t)
        fails = conversation.fails * (1.0 + swing * hour)
        slow = TTFT_OWN * pace + normal(0.0, TTFT_TURN)
        later = slow + LOG_SWING * hour
        if hits(t):
            fails += INCIDENT_ERRORS
            later += INCIDENT_LOG
        failed = uniform() < fails
        event["ttft"] = ttft = TTFT * exp(later)
        if answers:
            gap = INTER_TOKEN * exp(INTER_TOKEN_OWN * pace + normal(0.0, INTER_TOKEN_TURN))
            tokens = 1 + int(TOKENS * exp(normal(0.0, TOKENS_TURN)))
            event["inter_token"] = gap
            event["seconds"] = ttft + gap * (tokens - 1)
            event["tokens"] = tokens
            event["cost"] = tokens * DOLLARS_A_TOKEN
        if scored:
            event["score"] = min(1.0, max(0.0, normal(conversation.scores, SCORE_TURN)))
        if keyed:
            event["key"] = conversation.key
        if failed:
            fail(event)
        elif is_candidate and worsen is not None and t >= onset:
            worsen(event, slow / TTFT_DEVIATION)
        return event

    return attempt


def _key(rank: int) -> str:
    """Return what stands for the caller of a rank, as a hash would."""
    return blake2b(b"caller %d" % rank, digest_size=8).hexdigest()
