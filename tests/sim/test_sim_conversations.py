"""Simulated traffic: what it is made of, and what each regression does to the candidate alone."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from coalmine.sim.conversations import TURNS, events
from coalmine.sim.scenarios import DAY, NAMED, Regression, Scenario, named

HOUR = 3600.0
CALM = Scenario("calm", seconds=2 * HOUR, swing=False, incidents=False)
"""Neither swing nor incidents, so that shares can be counted."""


def attempts(scenario: Scenario, arm: str = "") -> list[dict[str, Any]]:
    return [event for event in events(scenario)
            if "outcome" in event and arm in ("", event["arm"])]


def failed(found: list[dict[str, Any]]) -> float:
    return sum(event["outcome"] != "ok" for event in found) / len(found)


def measured(found: list[dict[str, Any]], measure: str) -> list[float]:
    return [event[measure] for event in found if measure in event]


@pytest.fixture(scope="module")
def healthy() -> list[dict[str, Any]]:
    """Two calm hours of a healthy candidate with half of the conversations."""
    return list(events(replace(CALM, weight=50.0, answers=True)))


def test_the_same_scenario_makes_the_same_events_and_another_seed_others():
    """A run can be repeated, and a seed is a run."""
    short = replace(CALM, seconds=60.0)
    assert list(events(short)) == list(events(short))
    assert list(events(short)) != list(events(replace(short, seed=2)))


def test_events_come_in_the_order_of_time_and_end_in_time():
    """Whoever reads them needs no sorting, also where an attempt hangs for a minute."""
    for regression, size in ((Regression.NONE, 0.0), (Regression.HANG, 0.5)):
        times = [e["t"] for e in events(replace(CALM, regression=regression, size=size))]
        assert times == sorted(times)
        assert times[0] > 0.0
        assert times[-1] <= CALM.seconds


def test_the_fields_are_those_of_the_contract(healthy):
    """Each event is one JSON object with the documented keys."""
    attempt = next(event for event in healthy if event.get("outcome") == "ok")
    assert list(attempt) == [
        "t", "conversation", "turn", "release", "arm", "chance", "outcome", "ttft", "inter_token",
        "seconds", "tokens", "cost", "score"]
    assert json.loads(json.dumps(attempt)) == attempt
    failure = next(event for event in healthy if event.get("outcome") == "error")
    assert list(failure) == [
        "t", "conversation", "turn", "release", "arm", "chance", "outcome"]
    closed = next(event for event in healthy if "closed" in event)
    assert closed == {"t": closed["t"], "conversation": closed["conversation"], "closed": True}


def test_requests_come_at_the_rate_and_arms_at_the_weight(healthy):
    """Ten a second, four turns a conversation, half of the conversations on the candidate."""
    found = [event for event in healthy if "outcome" in event]
    assert len(found) / CALM.seconds == pytest.approx(10.0, rel=0.03)
    begun = Counter(event["arm"] for event in found if event["turn"] == 0)
    assert len(found) / begun.total() == pytest.approx(4.0, rel=0.03)
    assert begun["candidate"] / begun.total() == pytest.approx(0.5, abs=0.02)


def test_a_conversation_keeps_its_arm_counts_its_turns_and_closes_40_seconds_later(healthy):
    """Turns are numbered from 0 without a gap, 3 s apart at least."""
    turns: dict[str, list[dict[str, Any]]] = defaultdict(list)
    closed = {}
    for event in healthy:
        if "closed" in event:
            closed[event["conversation"]] = event["t"]
        else:
            turns[event["conversation"]].append(event)
    gaps = []
    for name, found in turns.items():
        assert [event["turn"] for event in found] == list(range(len(found)))
        assert len({event["arm"] for event in found}) == 1
        if name in closed:
            assert closed[name] == pytest.approx(found[-1]["t"] + 40.0)
        gaps += [b["t"] - a["t"] for a, b in pairwise(found)]
    assert min(gaps) >= 3.0
    assert statistics.mean(gaps) == pytest.approx(23.0, rel=0.03)
    assert max(map(len, turns.values())) <= TURNS


def test_healthy_arms_fail_and_measure_alike(healthy):
    """1 % errors, a median of 0.3 s to the first token, a mean score of 0.90."""
    for arm in ("stable", "candidate"):
        found = [event for event in healthy if event.get("arm") == arm]
        assert failed(found) == pytest.approx(0.01, abs=0.003)
        logs = [math.log(value) for value in measured(found, "ttft")]
        assert statistics.median(logs) == pytest.approx(math.log(0.3), abs=0.03)
        assert statistics.stdev(logs) == pytest.approx(math.hypot(0.4, 0.5), rel=0.05)
        assert statistics.mean(measured(found, "score")) == pytest.approx(0.90, abs=0.01)


def test_errors_come_in_clusters(healthy):
    """A turn after a failed one fails far more often than any turn."""
    before: dict[str, str] = {}
    after: Counter[str] = Counter()
    for event in healthy:
        if "outcome" in event:
            if before.get(event["conversation"]) == "error":
                after[event["outcome"]] += 1
            before[event["conversation"]] = event["outcome"]
    assert after["error"] / after.total() == pytest.approx(0.27, abs=0.08)


def test_load_and_times_swing_with_the_hour():
    """The busiest of eight parts of the day has more than twice the load of the calmest."""
    parts: list[list[float]] = [[] for _ in range(8)]
    for event in attempts(Scenario("day", rate=2.0, incidents=False)):
        parts[int(event["t"] / DAY * 8)] += measured([event], "ttft")
    loads = [len(part) for part in parts]
    assert max(loads) > 2.2 * min(loads)
    busiest, calmest = loads.index(max(loads)), loads.index(min(loads))
    ratio = statistics.median(parts[busiest]) / statistics.median(parts[calmest])
    assert ratio == pytest.approx(math.exp(0.6), rel=0.15)


def test_two_incidents_a_day_hit_both_arms_for_five_minutes():
    """20 points more errors in ten minutes of a day, on either arm."""
    day = Scenario("day", rate=5.0, weight=50.0, swing=False, errors=0.0)
    bad = [event for event in attempts(day) if event["outcome"] != "ok"]
    minutes = {int(event["t"] // 60) for event in bad}
    assert 10 <= len(minutes) <= 12
    assert {event["arm"] for event in bad} == {"stable", "candidate"}
    assert len(bad) == pytest.approx(0.2 * 600 * 5, rel=0.15)


@pytest.mark.parametrize("regression", [one for one in Regression if one is not Regression.HANG])
def test_a_regression_leaves_stable_as_it_is_and_the_candidate_until_the_onset(regression):
    """A bad candidate meets the conversations of a healthy one."""
    calm = replace(CALM, weight=50.0, keys=5, answers=True)
    bad = replace(calm, regression=regression, size=1.5, onset=HOUR)
    pairs = list(zip(events(calm), events(bad), strict=True))
    changed = [before for before, after in pairs if before != after]
    assert bool(changed) == (regression is not Regression.NONE)
    assert all(event["arm"] == "candidate" and event["t"] >= HOUR for event in changed)


@pytest.mark.parametrize(("size", "share"), [(1.0, 1.0), (0.05, 0.05), (0.3, 0.3)])
def test_errors_rise_to_the_share_that_is_asked_for(size, share):
    """From 1 % on stable to `size` on the candidate."""
    bad = replace(CALM, weight=50.0, regression=Regression.ERRORS, size=size)
    assert failed(attempts(bad, "candidate")) == pytest.approx(share, rel=0.1)
    assert failed(attempts(bad, "stable")) == pytest.approx(0.01, abs=0.004)


def changes(regression: Regression, size: float, measure: str = "ttft") -> list[float]:
    """Factors between a measure of the candidate and the same of the healthy one."""
    calm = replace(CALM, weight=50.0)
    pairs = zip(attempts(calm, "candidate"),
                attempts(replace(calm, regression=regression, size=size), "candidate"), strict=True)
    return [after[measure] / before[measure] for before, after in pairs if measure in before]


def test_ttft_is_multiplied():
    """Of each turn."""
    assert changes(Regression.TTFT, 1.3) == pytest.approx([1.3] * len(changes(Regression.TTFT, 1)))


@pytest.mark.parametrize(
    ("regression", "share"), [(Regression.TAIL, 0.04), (Regression.SLOW, 0.05)])
def test_a_share_of_turns_is_slowed(regression, share):
    """The others stay as they are."""
    factors = Counter(round(factor, 6) for factor in changes(regression, 10.0))
    assert set(factors) == {1.0, 10.0}
    assert factors[10.0] / factors.total() == pytest.approx(share, rel=0.12)


def test_the_slowest_are_those_of_the_tail():
    """The tail's regression doubles nothing that was not slow already."""
    calm = replace(CALM, weight=50.0)
    before = attempts(calm, "candidate")
    after = attempts(replace(calm, regression=Regression.TAIL, size=2.0), "candidate")
    doubled = [b["ttft"] for b, a in zip(before, after, strict=True) if a != b]
    rest = [b["ttft"] for b, a in zip(before, after, strict=True) if a == b and "ttft" in b]
    assert min(doubled) > max(rest)


def test_the_score_falls_and_never_below_zero():
    """0.90 becomes 0.85."""
    bad = replace(CALM, weight=50.0, regression=Regression.SCORE)
    scores = measured(attempts(replace(bad, size=0.05), "candidate"), "score")
    assert statistics.mean(scores) == pytest.approx(0.85, abs=0.01)
    assert set(measured(attempts(replace(bad, size=2.0), "candidate"), "score")) == {0.0}


def test_a_hang_ends_as_a_timeout_a_minute_later():
    """And the user asks on only after it."""
    hang = replace(CALM, weight=50.0, errors=0.0, regression=Regression.HANG, size=1.0)
    found = attempts(hang, "candidate")
    assert {(event["outcome"], event["seconds"]) for event in found} == {("timeout", 60.0)}
    turns: dict[str, list[float]] = defaultdict(list)
    for event in found:
        turns[event["conversation"]].append(event["t"])
    assert min(b - a for times in turns.values() for a, b in pairwise(times)) >= 63.0


def test_one_caller_causes_all_errors():
    """Of the callers only the busiest fails, and only on the candidate."""
    found = attempts(named("one-key", weight=50.0, seconds=HOUR))
    callers = Counter(event["key"] for event in found)
    assert len(callers) == 20
    (worst, most), (_, second) = callers.most_common(2)
    assert most / second == pytest.approx(2.0, rel=0.15)
    for event in found:
        guilty = event["key"] == worst and event["arm"] == "candidate"
        assert (event["outcome"] != "ok") == guilty


@pytest.mark.parametrize(("field", "value"), [
    ("rate", 0.0), ("rate", math.inf), ("weight", 101.0), ("seconds", 0.0), ("errors", 0.3),
    ("size", math.nan), ("onset", -1.0), ("keys", -1)])
def test_a_senseless_field_is_refused_by_name(field, value):
    """The message says what to give."""
    with pytest.raises(ValueError, match=rf"^{field}={value!r}: give "):
        replace(CALM, **{field: value})


def test_a_regression_of_one_caller_needs_callers():
    """Without them nobody could be to blame."""
    with pytest.raises(ValueError, match=r"^keys=0: give the number of callers"):
        replace(CALM, regression=Regression.KEY)


def test_named_scenarios_say_what_they_are_and_take_changes():
    """A field that is None stays the scenario's."""
    assert all(scenario.about and name == scenario.name for name, scenario in NAMED.items())
    changed = named("dead", rate=2.0, seconds=None)
    assert (changed.rate, changed.seconds) == (2.0, DAY)
    with pytest.raises(ValueError, match="did you mean 'dead'"):
        named("daed")
    with pytest.raises(ValueError, match="known are healthy, "):
        named("")
