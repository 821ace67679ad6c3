"""While the candidate is no worse the wealth is a martingale: no bet gains on average."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guardrails.outcomes import experienced, tell, turns

from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.failures import NEGLIGIBLE
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sample_ratio import SampleRatio
from coalmine.guardrails.sequential import Question

EVERY = [Question(measure, margin, against) for measure in Measure
         for margin, against in ((0.0, False), (0.1, False))]
AGAINST = [Question(measure, margin, True) for measure, margin in (
    (Measure.ERRORS, 1.0), (Measure.TTFT, 0.3), (Measure.SCORE, 0.05))]
SEEN = experienced([*EVERY, *AGAINST])

OUTCOMES = st.lists(
    st.fixed_dictionaries({
        "outcome": st.sampled_from([Outcome.OK, Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT,
                                    Outcome.DISCONNECT]),
        "ttft": st.none() | st.floats(0.001, 60.0),
        "inter_token": st.none() | st.floats(0.001, 1.0),
        "seconds": st.floats(0.0, 100.0),
        "tokens": st.none() | st.integers(0, 10_000),
        "cost": st.none() | st.floats(0.0, 1.0),
        "score": st.none() | st.floats(0.0, 1.0),
    }),
    min_size=1, max_size=6,
)


def parts(evidence: Evidence) -> dict[tuple[str, str], list[float]]:
    """All parts of all detectors, with what is withheld of them: a wealth is never more."""
    found = {}
    for test in evidence.tests.values():
        for detector in test.detectors:
            gains = detector.wealth.to_document()["gains"]
            assert all(gain >= 0.0 for gain in gains)
            found[test.question.name, detector.name] = [
                part * math.exp(gain)
                for part, gain in zip(detector.wealth.parts, gains, strict=True)]
    return found


def after(outcomes: list[dict[str, Any]], chance: float, *, candidate: bool
          ) -> dict[tuple[str, str], list[float]]:
    """The parts after one more conversation, on one arm; no minute passes."""
    evidence = copy.deepcopy(SEEN)
    tell(evidence, turns("new", outcomes, candidate=candidate, at=401.0, gap=0.1, chance=chance))
    return parts(evidence)


@settings(max_examples=60, deadline=None)
@given(outcomes=OUTCOMES, chance=st.floats(0.001, 0.999))
def test_no_bet_gains_on_average_when_the_arm_does_not_matter(
    outcomes: list[dict[str, Any]], chance: float
) -> None:
    """The same conversation on either arm, weighed by its chance: without a margin the mean wealth
    stays exactly what it was, with one it does not grow."""
    before = parts(SEEN)
    on_candidate, on_stable = (after(outcomes, chance, candidate=arm) for arm in (True, False))
    for name, were in before.items():
        for was, ours, theirs in zip(were, on_candidate[name], on_stable[name], strict=True):
            mean = chance * ours + (1.0 - chance) * theirs
            if ">0.1" in name[0]:
                assert mean <= was * (1.0 + 1e-9), name
            elif ">0" in name[0]:
                assert mean == pytest.approx(was, rel=1e-9, abs=1e-300), name


@settings(max_examples=60, deadline=None)
@given(outcomes=OUTCOMES, chance=st.floats(0.001, 0.999))
def test_no_proof_gains_while_the_candidate_is_worse_by_the_margin(
    outcomes: list[dict[str, Any]], chance: float
) -> None:
    """Measures of the candidate are worse by the whole margin: nothing is proven on average."""
    ours = [{**one, "ttft": one["ttft"] and one["ttft"] * 1.3,
             "score": None if one["score"] is None else max(0.0, one["score"] - 0.05)}
            for one in outcomes]
    theirs = [{**one, "score": None if one["score"] is None
               else min(1.0, max(0.0, one["score"] - 0.05) + 0.05)} for one in outcomes]
    before = parts(SEEN)
    on_candidate = after(ours, chance, candidate=True)
    on_stable = after(theirs, chance, candidate=False)
    for question in AGAINST[1:]:
        for name, were in before.items():
            if name[0] != question.name:
                continue
            for was, won, lost in zip(were, on_candidate[name], on_stable[name], strict=True):
                # One bucket of the histogram is 2 %: the table is no finer.
                assert chance * won + (1.0 - chance) * lost <= was * 1.1


@pytest.mark.parametrize("trend", [0.97, 1.03])
def test_a_conversations_own_turns_do_not_move_what_they_are_compared_with(trend: float) -> None:
    """Of stable's they would: then an agent's hundred turns, each quicker than the one before,
    would speak against the candidate."""
    outcomes = [{"ttft": 1.0 * trend**turn, "score": 0.9, "seconds": 0.05} for turn in range(100)]
    before = parts(SEEN)
    on_candidate, on_stable = (after(outcomes, 0.5, candidate=arm) for arm in (True, False))
    for name, were in before.items():
        if name[0].endswith(">0"):
            for was, ours, theirs in zip(were, on_candidate[name], on_stable[name], strict=True):
                assert (ours + theirs) / 2 == pytest.approx(was, rel=1e-9, abs=1e-300), name


@pytest.mark.parametrize(("ours", "theirs"), [(20.0, 20.0), (15.0, 30.0), (60.0, 20.0)])
def test_an_incident_of_both_arms_accuses_nobody_however_long_answers_take(
    ours: float, theirs: float
) -> None:
    """What was asked for in it is told of when it ends: earlier on the arm that is quicker."""
    question, draw = Question(Measure.TTFT, 0.1), random.Random(1)
    evidence = Evidence([question], horizon=3600.0)
    events: list[Attempt] = []
    asked = 0.0
    for number in range(6000):
        asked += draw.expovariate(15.0)
        candidate = draw.random() < 0.25
        ttft = draw.lognormvariate(-1.0, 0.5) * (8.0 if 150.0 < asked < 300.0 else 1.0)
        took = (ours if candidate else theirs) + ttft
        told: list[dict[str, Any]] = []
        waited = 1.0
        while waited < took:  # as a worker tells it
            told.append({"at": asked + waited, "outcome": Outcome.WAITING, "seconds": waited,
                         "ttft": min(waited, ttft)})
            waited *= 1.5
        told.append({"at": asked + took, "ttft": ttft, "seconds": took})
        events += [replace(one, first_turn=True) for one in turns(
            f"c{number}", told, candidate=candidate, chance=0.25)]
    highest = 0.0
    for attempt in sorted(events, key=lambda event: event.at):
        evidence.add(attempt)
        highest = max(highest, evidence.tests[question].wealth)
    assert highest < 100.0


@pytest.mark.parametrize("quicker", [1.0, 3.0])
@pytest.mark.parametrize(("measure", "idle"), [
    (Measure.ERRORS, 900.0), (Measure.TTFT, 900.0), (Measure.TTFT, 10.0)])
def test_a_candidate_whose_turns_are_quicker_is_no_worse_for_that(
    measure: Measure, idle: float, quicker: float
) -> None:
    """An agent's sixty turns, one in two hundred of which fails on both arms, and one of which is
    among the slowest: the quicker arm comes to them, and to its end, sooner."""
    question = Question(measure, 0.0)
    for seed in range(3):
        evidence, highest = Evidence([question], horizon=3600.0, idle=idle), 0.0
        for attempt in sorted(agents(seed, quicker, failing=measure is Measure.ERRORS),
                              key=lambda event: event.at):
            if attempt.at < 240.0:
                evidence.add(attempt)
                highest = max(highest, evidence.tests[question].wealth)
        assert highest < 50.0


def agents(seed: int, quicker: float, *, failing: bool) -> list[Attempt]:
    """Four minutes of agents that begin, ten a second, a quarter of them on the candidate."""
    draw, asked, found = random.Random(seed), 0.0, []
    while asked < 240.0:
        asked += draw.expovariate(10.0)
        candidate = draw.random() < 0.25
        gap = 4.0 / (quicker if candidate else 1.0)
        outcomes: list[dict[str, Any]] = []
        while len(outcomes) < 60 and not (outcomes and outcomes[-1]["outcome"] is Outcome.ERROR):
            bad = failing and draw.random() < 0.005
            outcomes.append({"outcome": Outcome.ERROR if bad else Outcome.OK, "seconds": gap,
                             "ttft": None if failing else draw.lognormvariate(-1.0, 0.5)})
        found += turns(f"c{len(found)}", outcomes, candidate=candidate, at=asked + gap, gap=gap,
                       chance=0.25)
    return found


@given(chance=st.floats(0.001, 0.999))
def test_a_failure_of_a_candidate_twice_as_bad_proves_nothing(chance: float) -> None:
    """With twice the rate a first failure is the candidate's with chance 2w / (2w + 1 − w)."""
    question = AGAINST[0]
    name = (question.name, "first_failure")
    failed = [{"outcome": Outcome.ERROR}]
    theirs = 2.0 * chance / (2.0 * chance + 1.0 - chance)
    on_candidate, on_stable = (after(failed, chance, candidate=arm)[name] for arm in (True, False))
    found = list(zip(parts(SEEN)[name], on_candidate, on_stable, strict=True))
    for was, won, lost in found[:-1]:
        assert theirs * won + (1.0 - theirs) * lost == pytest.approx(was, rel=1e-9)
    # The last one bets on the candidate's own rate: of stable it learns nothing.
    was, won, lost = found[-1]
    assert (lost, won < was) == (was, True)


def test_a_candidate_that_fails_more_than_a_few_proves_nothing() -> None:
    """On average, by its own rate alone: whatever stable's is."""
    question = AGAINST[0]
    name = question.name, "first_failure"
    good, bad = (after([{"outcome": outcome}], 0.5, candidate=True)[name][-1]
                 for outcome in (Outcome.OK, Outcome.ERROR))
    was = parts(SEEN)[name][-1]
    assert NEGLIGIBLE * bad + (1.0 - NEGLIGIBLE) * good == pytest.approx(was, rel=1e-9)
    for began in ([], [{"outcome": Outcome.OK}]):
        left = after([*began, {"outcome": Outcome.DISCONNECT}], 0.5, candidate=True)[name][-1]
        assert left == was, "its client did not wait for what might have failed"


@given(chance=st.floats(0.001, 0.999))
def test_the_split_is_a_fair_bet(chance: float) -> None:
    """On average the sample-ratio check neither gains nor loses."""
    totals = []
    for candidate in (True, False):
        split = SampleRatio(3600.0)
        split.add(0.0, candidate=candidate, chance=chance)
        split.pass_time(0.0)
        totals.append(split.wealth.total)
    assert chance * totals[0] + (1.0 - chance) * totals[1] == pytest.approx(1.0)


@pytest.mark.parametrize(("first", "growth"), [(0.5, 1.0), (2.0, 1.0), (1.0, 1.1), (1.0, 0.9)])
@pytest.mark.parametrize("fewer", [False, True])
def test_an_arm_with_fewer_turns_in_the_same_time_is_no_slower(
    first: float, growth: float, fewer: bool
) -> None:
    """Longer answers leave time for fewer of them; first turns are quicker or slower than later
    ones, and each is slower or quicker than the one before."""
    draw = random.Random(1)
    question = Question(Measure.TTFT, 0.0)
    evidence = Evidence([question], horizon=3600.0)
    for number in range(4000):
        candidate = draw.random() < 0.5
        own = draw.lognormvariate(-1.0, 0.4)
        outcomes = [{"ttft": own * (growth**turn if turn else first)
                     * draw.lognormvariate(0.0, 0.5)}
                    for turn in range(1 if candidate is fewer else 4)]
        tell(evidence, turns(f"c{number}", outcomes, at=2.0 * number, gap=0.1,
                             candidate=candidate, chance=0.5))
    assert evidence.tests[question].wealth < 20.0


@pytest.mark.parametrize(("longer", "weight"), [(1.0, 0.05), (3.0, 0.05), (3.0, 0.25), (3.0, 0.5)])
def test_good_answers_that_come_later_than_failures_accuse_nobody(
    longer: float, weight: float
) -> None:
    """Failures are there at once, on both arms; the candidate's answers take three times as long,
    and a worker tells after a second that they are waited for."""
    highest = 0.0
    for seed in range(5):
        draw = random.Random(seed)
        evidence = Evidence([Question(Measure.ERRORS, 0.1)], horizon=3600.0)
        events: list[tuple[float, Attempt]] = []
        for number in range(3000):
            asked, candidate = number / 30.0, draw.random() < weight
            bad = draw.random() < 0.02
            took = 0.1 if bad else 15.0 * (longer if candidate else 1.0)
            outcomes: list[dict[str, Any]] = [{"outcome": Outcome.ERROR if bad else Outcome.OK,
                                               "seconds": took, "at": asked + took}]
            if not bad:
                outcomes.insert(0, {"outcome": Outcome.WAITING, "seconds": 1.0, "at": asked + 1.0})
            events += [(one.at, replace(one, first_turn=True)) for one in turns(
                f"c{number}", outcomes, candidate=candidate, chance=weight)]
        for _, attempt in sorted(events, key=lambda event: event[0]):
            evidence.add(attempt)
            highest = max(highest, evidence.tests[Question(Measure.ERRORS, 0.1)].wealth)
    assert highest < 100.0


def test_healthy_rollouts_rarely_reach_a_bar() -> None:
    """Ville: of rollouts without a difference at most one in twenty ever reaches 20, by any one
    detector; with 3 % errors that come in clusters, and chances that change on the way."""
    reached, rollouts = 0, 200
    for seed in range(rollouts):
        draw = random.Random(seed)
        evidence = Evidence([Question(Measure.ERRORS, 0.0)], horizon=3600.0)
        (test,) = evidence.tests.values()
        highest = 0.0
        for number in range(400):
            chance = 0.05 if number < 200 else 0.5
            frail = draw.random() < 0.05
            outcomes = [{"outcome": Outcome.ERROR if draw.random() < (0.5 if frail else 0.005)
                         else Outcome.OK} for _ in range(3)]
            tell(evidence, turns(f"c{number}", outcomes, at=float(number), gap=0.1,
                                 candidate=draw.random() < chance, chance=chance))
            highest = max(highest, test.wealth)
        reached += highest >= 20.0
    assert reached <= 0.05 * rollouts + 3 * (0.05 * 0.95 * rollouts) ** 0.5
