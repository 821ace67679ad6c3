"""The evidence of a rollout: which conversations count, and what survives."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.guardrails.outcomes import experienced, failures, tell, turns

from coalmine.guardrails import Attempt, Outcome
from coalmine.guardrails import evidence as module
from coalmine.guardrails.admission import ACTIVE, ADMITTED
from coalmine.guardrails.evidence import LATEST, UNITS, Evidence
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import Question
from coalmine.guardrails.units import LATER, OPENING
from coalmine.routing import Arm

ERRORS = Question(Measure.ERRORS, 0.1)
TTFT = Question(Measure.TTFT, 0.1)
SCORE = Question(Measure.SCORE, 0.01)
ALL = [ERRORS, TTFT, SCORE, Question(Measure.REQUEST, 0.5), Question(Measure.TOKENS, 0.1)]


@pytest.fixture
def evidence() -> Evidence:
    """Evidence that has seen nothing."""
    return Evidence([ERRORS], horizon=3600.0)


def total(evidence: Evidence, question: Question = ERRORS) -> float:
    return evidence.tests[question].wealth


def everything(evidence: Evidence) -> list[float]:
    return [part for test in evidence.tests.values() for detector in test.detectors
            for part in (*detector.wealth.parts, detector.wealth.cash)]


# which conversations count ------------------------------------------------------------------------
def test_a_candidate_that_fails_outright_is_seen_after_three_conversations(
    evidence: Evidence
) -> None:
    """Nineteen conversations of stable go well beside each of the candidate's."""
    for number in range(3):
        for other in range(19):
            tell(evidence, turns(f"s{number}-{other}", [{}], candidate=False, chance=0.05,
                                 at=float(number)))
        tell(evidence, turns(f"c{number}", failures(1), candidate=True, chance=0.05,
                             at=float(number)))
    assert total(evidence) > 1000.0


def test_failures_of_stable_are_no_evidence_against_the_candidate(evidence: Evidence) -> None:
    """They are evidence for it."""
    for number in range(50):
        tell(evidence, turns(f"s{number}", failures(1), candidate=False, at=float(number)))
    assert total(evidence) < 0.7


@pytest.mark.parametrize(("fields", "reason"), [
    ({"evidence": False}, None),
    ({"chance": None}, None),
    ({"chance": 1.0}, None),
    ({"chance": 0.0}, None),
    ({"chance": math.nan}, None),
    ({"first_turn": False}, "began_unseen"),
    ({"conversation": ""}, "began_unseen"),
])
def test_a_conversation_without_a_chance_of_either_arm_is_no_evidence(
    evidence: Evidence, fields: dict[str, Any], reason: str | None
) -> None:
    """Nor is one that began before the rollout, or unseen."""
    before = everything(evidence)
    for number in range(20):
        tell(evidence, turns(f"c{number}", [{"outcome": Outcome.ERROR, **fields}], candidate=True))
    assert everything(evidence) == before
    assert dict(evidence.left_out) == ({reason: 20} if reason else {})


def test_many_failures_of_one_conversation_are_one(evidence: Evidence) -> None:
    """One unlucky user is no regression."""
    once, often = (Evidence([ERRORS], horizon=3600.0) for _ in range(2))
    tell(once, turns("c", failures(1), candidate=True))
    tell(often, turns("c", failures(30, 30), candidate=True, gap=1.0))
    assert everything(often) == everything(once)


def test_a_conversation_that_appears_on_the_other_arm_counts_where_it_began(
    evidence: Evidence
) -> None:
    """It was moved; what follows is the other release's."""
    tell(evidence, turns("c", [{}], candidate=True), close=False)
    before = everything(evidence)
    tell(evidence, turns("c", failures(2, 2), candidate=False, gap=1.0)[1:], close=False)
    assert everything(evidence) == before
    assert evidence.left_out == {"another_arm": 1}


def test_one_caller_cannot_flood_the_evidence() -> None:
    """While others call too, some hundred of his conversations a minute are enough."""
    evidence = Evidence([ERRORS], horizon=3600.0)
    for minute in range(2):
        for other in range(ACTIVE):
            tell(evidence, turns(f"o{minute}-{other}", [{}], candidate=False, at=60.0 * minute,
                                 caller=f"k{other}"))
        for number in range(5 * ADMITTED):
            tell(evidence, turns(f"f{minute}-{number}", failures(1), candidate=False,
                                 at=60.0 * minute + 1, caller="flood"))
    assert evidence.left_out["caller_limit"] == pytest.approx(4 * ADMITTED, rel=0.1)


def test_a_service_with_one_key_is_not_limited() -> None:
    """An application that calls with a key of its own is all there is."""
    evidence = Evidence([ERRORS], horizon=3600.0)
    for number in range(3 * ADMITTED):
        tell(evidence, turns(f"c{number}", [{}], candidate=False, at=number / 10, caller="app"))
    assert not evidence.left_out


def test_conversations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound none is admitted until others have ended and told all; those that are in go
    on."""
    assert UNITS == 50_000
    monkeypatch.setattr(module, "UNITS", 10)
    evidence = Evidence([ERRORS], horizon=3600.0)
    for number in range(15):
        tell(evidence, turns(f"c{number}", [{}], candidate=number % 2 == 0, at=float(number)),
             close=False)
    assert evidence.left_out == {"full": 5}
    evidence.close("c0", 20.0)
    tell(evidence, turns("new", [{}], candidate=True, at=LATER), close=False)
    assert evidence.left_out == {"full": 5}
    assert evidence.split.left_out == {"full": 5}


def test_an_end_tells_nothing_sooner() -> None:
    """Or what goes well would be known before what hangs, and quick turns before slow ones."""
    ended, goes_on = (experienced([SCORE, ERRORS, TTFT]) for _ in range(2))
    for one in (ended, goes_on):
        tell(one, turns("c", [{"score": 0.1, "ttft": 9.0}], candidate=True, at=1000.0), close=False)
    ended.close("c", 1001.0)
    for at in (1002.0, 1004.9, 1060.0, 1089.0, 1200.0):
        for one in (ended, goes_on):
            one.pass_time(at)
        assert everything(ended) == everything(goes_on)
    assert ended.callers == 1, "it is kept until it has told all"
    ended.pass_time(1000.0 + LATER)
    assert ended.callers == 0


def test_a_candidate_that_hangs_is_not_proven_by_what_ends_before() -> None:
    """However soon the policy lets conversations end: what hangs is told after the opening."""
    question, draw = Question(Measure.ERRORS, 1.0, against=True), random.Random(1)
    evidence = Evidence([question], horizon=3600.0, idle=20.0)
    for number in range(9000):
        candidate = draw.random() < 0.5
        hangs = candidate and draw.random() < 0.4
        took = {"outcome": Outcome.WAITING if hangs else Outcome.OK, "seconds": 1.0}
        tell(evidence, turns(f"c{number}", [took], candidate=candidate, chance=0.5,
                             at=number / 60.0), close=False)
        assert evidence.tests[question].wealth < 20.0


# what is measured ---------------------------------------------------------------------------------
def test_a_hang_is_evidence_before_it_ends() -> None:
    """The clock passes stable's slowest: nobody waits for the timeout."""
    evidence = experienced([TTFT], conversations=400)
    tail = evidence.tests[TTFT].detectors[1]
    before = tail.wealth.total
    for number in range(5):
        waits = {"outcome": Outcome.WAITING, "ttft": 20.0, "seconds": 20.0}
        tell(evidence, turns(f"c{number}", [waits], candidate=True, at=1000.0 + number),
             close=False)
    assert tail.wealth.total > 20 * before


def test_a_turn_that_waits_and_then_ends_counts_once() -> None:
    """First by its lower bounds, then by nothing more."""
    evidence = experienced([TTFT], conversations=400)
    tail = evidence.tests[TTFT].detectors[1]
    waited, ended = turns("c", [{"outcome": Outcome.WAITING, "ttft": 20.0, "seconds": 20.0},
                                {"ttft": 60.0, "seconds": 60.0}], candidate=True, at=1000.0)
    ended.first_turn = True
    evidence.add(waited)
    after = tail.wealth.total
    evidence.add(ended)
    assert tail.wealth.total == after


def test_a_candidate_that_is_left_because_it_is_slow_is_seen() -> None:
    """Clients go after half a minute, from answers that take two seconds on stable: no failure,
    but no good sign either."""
    slower, proven = Question(Measure.REQUEST, 0.5), Question(Measure.REQUEST, 0.3, against=True)
    for leaves, seen in ((0.4, True), (0.0, False)):
        draw, evidence = random.Random(1), experienced([slower, proven, ERRORS], conversations=400)
        for number in range(400):
            candidate = draw.random() < 0.5
            left = candidate and draw.random() < leaves
            one: dict[str, Any] = {"seconds": draw.lognormvariate(1.0, 0.5)}
            if left:
                one = {"outcome": Outcome.DISCONNECT, "seconds": 30.0}
            tell(evidence, turns(f"c{number}", [one], candidate=candidate, chance=0.5,
                                 at=1000.0 + number))
        assert (total(evidence, slower) > 1000.0) is seen
        assert (total(evidence, proven) > 20.0) is not seen
        assert total(evidence) < 20.0


def test_a_candidate_that_has_not_answered_yet_is_not_proven_to_fail_no_more() -> None:
    """Stable's failures are known at once, those of a candidate that hangs after its timeout."""
    question = Question(Measure.ERRORS, 1.0, against=True)
    for hangs, proven in ((True, False), (False, True)):
        draw, evidence = random.Random(1), Evidence([question], horizon=3600.0)
        for number in range(3000):
            candidate, at = draw.random() < 0.25, number / 5.0
            bad = draw.random() < 0.05 and not candidate
            took = {"outcome": Outcome.WAITING, "seconds": 1.0} if candidate and hangs else {
                "outcome": Outcome.ERROR if bad else Outcome.OK, "seconds": 1.0}
            tell(evidence, turns(f"c{number}", [took], candidate=candidate, chance=0.25, at=at),
                 close=False)
        assert (total(evidence, question) > 20.0) is proven


def test_an_answer_from_the_cache_is_no_turn_that_runs() -> None:
    """It begins a conversation, and tells nothing of how long answers take."""
    question = Question(Measure.REQUEST, 0.0)
    evidence = experienced([question])
    evidence.pass_time(2000.0)
    before = everything(evidence)
    shift = evidence.tests[question].detectors[0]
    told = list(shift.counts.units)
    tell(evidence, turns("c", [{"outcome": Outcome.WAITING}], candidate=True, at=2000.0))
    assert everything(evidence) == before
    assert shift.counts.units == told


def test_a_conversation_whose_turn_runs_is_not_over() -> None:
    """However soon the policy closes one: else its end would begin it anew, on the slower arm."""
    evidence = Evidence([ERRORS], horizon=3600.0, idle=30.0)
    waits = turns("c", [{"outcome": Outcome.WAITING, "seconds": 100.0}], candidate=True, at=100.0)
    tell(evidence, waits, close=False)
    evidence.pass_time(149.0)
    tell(evidence, turns("c", failures(1), candidate=True, at=150.0), close=False)
    assert evidence.callers == 1
    evidence.pass_time(1000.0)
    assert evidence.callers == 0
    assert evidence.left_out == {}


def test_an_opening_is_told_after_a_time_not_at_the_end() -> None:
    """A conversation that goes on for hours has told what it can."""
    evidence = experienced([SCORE])
    evidence.pass_time(1000.0)
    before = everything(evidence)
    tell(evidence, turns("c", [{"score": 0.1}], candidate=True, at=1000.0), close=False)
    assert everything(evidence) == before
    opening, _ = evidence.tests[SCORE].detectors
    told = opening.counts.units[1]
    evidence.pass_time(1000.0 + OPENING)
    assert opening.counts.units[1] == told + 1


@pytest.mark.parametrize("slower", [1.0, 10.0])
def test_a_turn_that_runs_when_the_opening_ends_counts_by_what_is_known_of_it(slower: float
                                                                              ) -> None:
    """Ten times slower per token it takes 200 s: what never ends in time is not left out."""
    question = Question(Measure.INTER_TOKEN, 0.1)
    evidence = Evidence([question], horizon=3600.0)
    draw = random.Random(1)
    events = []
    for number in range(600):
        candidate, asked = draw.random() < 0.3, 2.0 * number
        gap = 0.02 * draw.lognormvariate(0.0, 0.3) * (slower if candidate else 1.0)
        seconds = 1000 * gap
        said: list[dict[str, Any]] = [
            {"outcome": Outcome.WAITING, "seconds": waited, "inter_token": gap}
            for waited in (1.0, 60.0) if waited < seconds]
        said.append({"seconds": seconds, "inter_token": gap})
        events += [replace(attempt, at=asked + attempt.seconds, first_turn=True)
                   for attempt in turns(f"c{number}", said, candidate=candidate, chance=0.3)]
    for attempt in sorted(events, key=lambda attempt: attempt.at):
        evidence.add(attempt)
    opening, _ = evidence.tests[question].detectors
    assert opening.counts.units[1] > 100
    assert (opening.wealth.total > 1000.0) is (slower > 1.0)


@pytest.mark.parametrize(("seconds", "opening"), [(5.0, OPENING), (100.0, 300.0), (500.0, LATEST)])
def test_openings_last_as_long_as_stables_answers_take(seconds: float, opening: float) -> None:
    """Three times as long as the slow ones: what takes longer than that is slow whatever comes."""
    evidence = Evidence([ERRORS], horizon=3600.0)
    for number in range(200):
        tell(evidence, turns(f"s{number}", [{"seconds": seconds}], candidate=False,
                             at=float(number)))
    evidence.pass_time(400.0)
    tell(evidence, turns("c", [{}], candidate=True, at=400.0), close=False)
    ends = evidence._units["c"].ends
    assert ends - 400.0 == pytest.approx(opening, rel=0.02)


def test_later_turns_are_seen_though_people_think_for_long() -> None:
    """Two minutes between turns: all but the first come after the opening."""
    evidence = Evidence([SCORE], horizon=3600.0)
    draw = random.Random(1)
    attempts = []
    for number in range(400):
        candidate = draw.random() < 0.3
        said = [{"score": draw.uniform(0.8, 1.0) - (0.3 if candidate and turn else 0.0)}
                for turn in range(4)]
        attempts += turns(f"c{number}", said, candidate=candidate, chance=0.3, at=10.0 * number,
                          gap=120.0)
    for attempt in sorted(attempts, key=lambda attempt: attempt.at):
        evidence.add(attempt)
    opening, later = evidence.tests[SCORE].detectors
    assert (opening.name, later.name) == ("mean", "later_mean")
    assert opening.wealth.total < 20.0
    assert later.wealth.total > 1000.0


def test_latencies_are_left_out_while_the_loads_are_not_comparable() -> None:
    """A candidate that bears far more than stable is slower for that alone."""
    evidence = experienced([ERRORS, TTFT], conversations=400)
    evidence.comparable = False
    before = total(evidence, TTFT)
    for number in range(50):
        tell(evidence, turns(f"c{number}", [{"ttft": 30.0}], candidate=True, at=900.0 + number))
    assert total(evidence, TTFT) == pytest.approx(before, rel=0.1)
    evidence.comparable = True
    for number in range(50):
        tell(evidence, turns(f"d{number}", [{"ttft": 30.0}], candidate=True, at=960.0 + number))
    assert total(evidence, TTFT) > 1e6


def test_idle_conversations_are_forgotten(evidence: Evidence) -> None:
    """What comes after a quarter of an hour tells nothing more, and memory stays bounded."""
    tell(evidence, turns("c", [{}], candidate=True), close=False)
    evidence.pass_time(901.0)
    before = everything(evidence)
    tell(evidence, turns("c", failures(2, 2), candidate=True, at=901.0)[1:])
    assert everything(evidence) == before
    assert evidence.left_out == {"began_unseen": 1}


@pytest.mark.parametrize("at", [0.0, -5.0, 1e12])
def test_jumps_of_the_clock_do_no_harm(at: float) -> None:
    """Backwards, or far ahead: the wealth stays a finite, positive number."""
    evidence = experienced(ALL)
    tell(evidence, turns("c", [{"ttft": 0.1}, {}], candidate=True, at=at))
    tell(evidence, turns("d", [{"ttft": 0.1}, {}], candidate=True, at=500.0))
    assert all(math.isfinite(part) and part >= 0.0 for part in everything(evidence))


# batches and take-overs ---------------------------------------------------------------------------
def _traffic(count: int = 300) -> list[Attempt]:
    draw = random.Random(7)
    attempts: list[Attempt] = []
    for number in range(count):
        outcomes = [{"outcome": Outcome.ERROR if draw.random() < 0.05 else Outcome.OK,
                     "ttft": draw.lognormvariate(0.0, 0.5), "score": draw.random(),
                     "seconds": 1.0 + draw.random(), "tokens": 5} for _ in range(3)]
        attempts += turns(f"c{number}", outcomes, candidate=draw.random() < 0.3, chance=0.3,
                          at=number * 3.0, gap=4.0, caller=f"k{number % 7}")
    return sorted(attempts, key=lambda attempt: attempt.at)


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_evidence_does_not_depend_on_how_it_is_batched(
    size: int, in_batches: Callable[..., Evidence]
) -> None:
    """Only on the order of the outcomes."""
    whole = Evidence(ALL, horizon=3600.0)
    for attempt in _traffic():
        whole.add(attempt)
    assert everything(in_batches(_traffic(), size)) == everything(whole)


@pytest.fixture
def in_batches() -> Callable[..., Evidence]:
    """Evidence that was fed batch by batch, and written and read again between two."""

    def feed(attempts: list[Attempt], size: int) -> Evidence:
        evidence = Evidence(ALL, horizon=3600.0)
        for start in range(0, len(attempts), size):
            for attempt in attempts[start:start + size]:
                evidence.add(attempt)
        return evidence

    return feed


@pytest.mark.parametrize("at", [1, 100, 450, 899])
def test_a_take_over_loses_no_evidence(at: int) -> None:
    """What another controller reads goes on as if nothing had happened, but that latencies of the
    conversations that run are held to the newest scale."""
    attempts = _traffic()
    whole, first = (Evidence(ALL, horizon=3600.0) for _ in range(2))
    for attempt in attempts:
        whole.add(attempt)
    for attempt in attempts[:at]:
        first.add(attempt)
    heir = Evidence(ALL, horizon=3600.0)
    heir.restore(json.loads(json.dumps(first.to_document())))
    assert everything(heir) == everything(first)
    for attempt in attempts[at:]:
        heir.add(attempt)
    for question in (ERRORS, SCORE):
        assert total(heir, question) == pytest.approx(total(whole, question), rel=1e-9)
    assert heir.tests[TTFT].units == whole.tests[TTFT].units
    assert heir.callers == whole.callers


def test_a_failure_that_is_told_later_is_told_by_whoever_is_the_controller_then(
    evidence: Evidence
) -> None:
    """When stable's conversations are mostly as far."""
    for number in range(20):
        tell(evidence, turns(f"s{number}", [{"seconds": 10.0}] * 5, candidate=False,
                             at=float(number)), close=False)
    soon = turns("c", [{"seconds": 0.1}] * 3 + failures(1), candidate=True, at=100.0, gap=0.1)
    tell(evidence, soon, close=False)
    told = evidence.tests[ERRORS].detectors[1].wealth
    before = list(told.parts)
    evidence.pass_time(110.0)
    assert told.parts == before
    heir = Evidence([ERRORS], horizon=3600.0)
    heir.restore(json.loads(json.dumps(evidence.to_document())))
    for one in (evidence, heir):
        one.pass_time(161.0)
        one_told = one.tests[ERRORS].detectors[1].wealth
        assert one_told.parts[-1] > 5 * before[-1]
    assert everything(heir) == everything(evidence)


def test_a_slow_turn_that_is_told_later_is_told_by_whoever_is_the_controller_then() -> None:
    """When stable's conversations have mostly begun the turn of that number; its end is no reason.
    """
    evidence = Evidence([TTFT], horizon=3600.0)
    for number in range(40):
        tell(evidence, turns(f"s{number}", [{"seconds": 10.0, "ttft": 0.3}] * 5, candidate=False,
                             at=float(number)), close=False)
    told = [{"seconds": 0.1, "ttft": 0.1}] * 3 + [{"seconds": 5.0, "ttft": 4.0}]
    for name in ("ended", "open"):
        tell(evidence, turns(name, told, candidate=True, at=100.0, gap=0.1), close=False)
    slow = evidence.tests[TTFT].detectors[1]
    assert (slow.name, slow.counts.bad) == ("tail", [0, 2])
    before = slow.wealth.total
    evidence.close("ended", 141.0)
    heir = Evidence([TTFT], horizon=3600.0)
    heir.restore(json.loads(json.dumps(evidence.to_document())))
    for one in (evidence, heir):
        one.pass_time(144.0)
        tail = one.tests[TTFT].detectors[1]
        assert tail.wealth.total == before
        one.pass_time(146.0)
        assert tail.wealth.total > 2.5 * before
    assert everything(heir) == everything(evidence)


def test_evidence_of_other_questions_is_refused() -> None:
    """A policy's guardrails are frozen; what does not fit was kept by another version."""
    document = experienced([ERRORS]).to_document()
    with pytest.raises((KeyError, ValueError)):
        Evidence([ERRORS, TTFT], horizon=3600.0).restore(document)


def test_the_split_of_the_conversations_is_checked(evidence: Evidence) -> None:
    """A candidate whose conversations do not arrive is not growing, whatever else holds."""
    for number in range(2000):
        tell(evidence, turns(f"c{number}", [{}], candidate=number % 20 == 0, chance=0.1,
                             at=float(number)))
    evidence.pass_time(2100.0)
    assert evidence.sample_ratio.broken
    assert "100 of 2000 conversations where 200 were to be expected" in (
        evidence.sample_ratio.sentence)


def test_conversations_of_a_slow_arm_are_not_missed_while_they_are_on_their_way(
    evidence: Evidence
) -> None:
    """Ten a second, half of them on a candidate that takes forty seconds longer to answer."""
    for number in range(3000):
        on_stable, on_candidate = number / 5.0, (number - 200) / 5.0
        tell(evidence, turns(f"s{number}", [{"seconds": 1.0}], candidate=False, chance=0.5,
                             at=on_stable), close=False)
        if on_candidate >= 0.0:
            tell(evidence, turns(f"c{number}", [{"seconds": 41.0}], candidate=True, chance=0.5,
                                 at=on_candidate + 40.0), close=False)
    assert evidence.sample_ratio.units > 4000
    assert evidence.sample_ratio.wealth.total < 2.0


def test_a_callers_name_outlives_his_conversations(evidence: Evidence) -> None:
    """What he did is still in the evidence, and people must know whose it is."""
    tell(evidence, turns("c", [{"alias": "batch-job"}], candidate=True, caller="k1"))
    assert evidence.alias_of("k1") == "batch-job"
    other = Evidence([ERRORS], horizon=3600.0)
    other.restore(json.loads(json.dumps(evidence.to_document())))
    assert other.alias_of("k1") == "batch-job"


@pytest.mark.parametrize("cost", [2e-6, 5e-5, 1e-3, 0.5])
def test_costs_of_any_size_are_told_apart(cost: float) -> None:
    """From millionths of a dollar, what a small model takes for a short answer."""
    question = Question(Measure.COST, 0.1)
    evidence = Evidence([question], horizon=3600.0)
    draw = random.Random(1)
    for number in range(2000):
        candidate = draw.random() < 0.5
        spent = cost * draw.lognormvariate(0.0, 0.5) * (2.0 if candidate else 1.0)
        tell(evidence, turns(f"c{number}", [{"cost": spent}], candidate=candidate, chance=0.5,
                             at=float(number)))
    assert total(evidence, question) > 1000.0


def test_the_time_to_a_decision_is_told(evidence: Evidence) -> None:
    """From the growth till now: (ln bar − ln wealth) / growth."""
    test = evidence.tests[ERRORS]
    for minute in range(10):
        tell(evidence, turns(f"c{minute}", failures(1), candidate=True, at=60.0 * minute,
                             chance=0.5))
        for other in range(1):
            tell(evidence, turns(f"s{minute}-{other}", [{}], candidate=False, at=60.0 * minute + 1,
                                 chance=0.5))
    left = test.seconds_to(test.wealth * 2, 600.0)
    assert left is not None
    assert 0.0 < left < 600.0
    assert test.seconds_to(test.wealth / 2, 600.0) == 0.0


def test_an_arm_is_only_known_by_its_name() -> None:
    """An attempt of no arm is no evidence."""
    evidence = Evidence([ERRORS], horizon=3600.0)
    attempt = turns("c", failures(1), candidate=True)[0]
    attempt.arm = None
    evidence.add(attempt)
    attempt.arm = Arm.CANDIDATE
    assert evidence.tests[ERRORS].units[1] == 0
