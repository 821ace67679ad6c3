"""Judging a guardrail of evidence: what it says, and when it acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.guardrails.outcomes import failures, tell, turns

from coalmine.guardrails import Action, Decide, Status, Window, weigh
from coalmine.guardrails.alpha import bars, misfits, question_of
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.guardrail import DEFAULT_GUARDRAILS, Guardrail
from coalmine.guardrails.judge import Finding
from coalmine.guardrails.lone_caller import MIN_CALLERS
from coalmine.guardrails.units import START
from coalmine.guardrails.weighing import judge_evidence

Make = Callable[..., Any]
EMPTY = Window(300.0)


def errors(**fields: Any) -> Guardrail:
    return Guardrail.model_validate(
        {"name": "errors", "metric": "error_rate", "rule": "evidence", **fields})


def judged(evidence: Evidence, guardrail: Guardrail, *, proof: bool = False,
           bar: float = 1000.0, now: float = 0.0, reached: float = 0.0) -> Finding:
    ours, theirs = question_of(guardrail), question_of(guardrail, against=True)
    assert ours is not None
    assert theirs is not None
    return judge_evidence(guardrail, evidence, evidence.tests[ours], bar=bar, now=now,
                          candidate=EMPTY, stable=EMPTY, reached=reached,
                          proof=evidence.tests[theirs] if proof else None)


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    """Evidence on errors after some conversations of both arms, each of a caller of its own."""

    def make(candidates: int, failed: int, stable: int = 100, *, callers: int = 50,
             **fields: Any) -> Evidence:
        guardrail = errors(**fields)
        asked = question_of(guardrail), question_of(guardrail, against=True)
        made = Evidence([question for question in asked if question], horizon=3600.0)
        for number in range(stable):
            tell(made, turns(f"s{number}", [{}], candidate=False, chance=0.05,
                             caller=f"k{number % callers}"), close=False)
        for number in range(candidates):
            tell(made, turns(f"c{number}", failures(int(number < failed)), candidate=True,
                             chance=0.05, caller=f"k{number % callers}"), close=False)
        made.pass_time(START)
        return made

    return make


def test_it_says_in_plain_words_what_it_saw(evidence: Make) -> None:
    """What failed on both arms, the evidence and the bar."""
    found = judged(evidence(5, 4), errors())
    assert found.sentence.startswith(
        "errors: the candidate failed 4 of 5 conversations where stable fails 0 %: evidence ")
    assert found.sentence.endswith(", bar 1 000")
    assert (found.status, found.action) == (Status.BREACH, Action.ROLLBACK)
    assert found.evidence is not None
    assert found.evidence >= 1000.0
    assert found.bar == 1000.0


def test_below_the_bar_it_holds(evidence: Make) -> None:
    """However bad it looks."""
    found = judged(evidence(5, 1), errors())
    assert (found.status, found.action) == (Status.OK, None)


def test_what_another_detector_has_seen_of_others_is_no_one_callers_doing() -> None:
    """One caller's first turns all fail, and later turns of all the others do too."""
    guardrail = errors()
    question = question_of(guardrail)
    assert question is not None
    evidence = Evidence([question], horizon=3600.0)
    for number in range(40):
        tell(evidence, turns(f"s{number}", [{}], candidate=False, caller=f"k{number % 9}"),
             close=False)
    for number in range(8):
        tell(evidence, turns(f"l{number}", failures(1), candidate=True, caller="loud"),
             close=False)
    (test,) = evidence.tests.values()
    assert test.leading.name == "first_turn"
    assert judged(evidence, guardrail, now=100.0).lone_caller == "loud"
    for number in range(9):
        tell(evidence, turns(f"o{number}", [{}, *failures(1)], candidate=True,
                             caller=f"k{number}"), close=False)
    found = judged(evidence, guardrail, now=100.0)
    assert (found.lone_caller, found.action) == (None, Action.ROLLBACK)


@pytest.mark.parametrize(("candidates", "stable"), [(0, 100), (5, 0), (0, 0)])
def test_without_both_arms_there_is_nothing_to_compare(
    evidence: Make, candidates: int, stable: int
) -> None:
    """Too little data holds."""
    found = judged(evidence(candidates, candidates, stable), errors())
    assert (found.status, found.action) == (Status.NO_DATA, None)
    assert found.sentence == (
        f"errors: waits for conversations: {candidates} of the candidate, {stable} of stable")


@pytest.mark.parametrize(("fields", "action"), [
    ({"severity": "critical"}, Action.ROLLBACK), ({"severity": "mild"}, Action.PAUSE),
    ({"dry_run": True}, None),
])
def test_severity_decides_and_a_dry_run_never_acts(
    evidence: Make, fields: dict[str, Any], action: Action | None
) -> None:
    """A mild one pauses and asks."""
    found = judged(evidence(6, 6, **fields), errors(**fields))
    assert (found.status, found.action) == (Status.BREACH, action)


def test_one_key_that_causes_all_of_it_only_pauses(evidence: Make) -> None:
    """Given five callers, the evidence must last without the worst of them."""
    made = evidence(0, 0)
    for number in range(30):
        tell(made, turns(f"x{number}", failures(1), candidate=True, chance=0.05, caller="loud"),
             close=False)
    found = judged(made, errors())
    assert (found.status, found.action, found.lone_caller) == (Status.BREACH, Action.PAUSE, "loud")
    assert "it vanishes without the key loud, so it only pauses" in found.sentence


def test_what_one_key_has_shown_waits_a_minute_for_others(evidence: Make) -> None:
    """Of the first conversations that a dead candidate fails, two may be his who calls most."""
    made = evidence(0, 0)
    for number in range(3):
        tell(made, turns(f"x{number}", failures(1), candidate=True, chance=0.05, caller="loud"),
             close=False)
    waits = judged(made, errors(), bar=5000.0)
    assert (waits.status, waits.action, waits.lone_caller) == (Status.BREACH, None, "loud")
    assert "so others are waited for" in waits.sentence
    verdict = weigh([waits], step_over=True, holding="")
    assert (verdict.decision, verdict.reason) == (Decide.HOLD, waits.sentence)
    assert judged(made, errors(), bar=5000.0, now=59.0).action is None
    assert judged(made, errors(), bar=5000.0, now=60.0).action is Action.PAUSE
    for number in range(2):
        tell(made, turns(f"y{number}", failures(1), candidate=True, chance=0.05,
                         caller=f"other{number}"), close=False)
    assert judged(made, errors(), bar=5000.0, now=60.0).action is Action.ROLLBACK


def test_with_few_callers_one_of_them_is_enough(evidence: Make) -> None:
    """An application with a key of its own is all there is."""
    made = evidence(30, 30, callers=MIN_CALLERS - 1)
    assert judged(made, errors()).action is Action.ROLLBACK
    assert judged(evidence(30, 30, callers=1), errors()).action is Action.ROLLBACK


def test_it_says_how_far_the_proof_is(evidence: Make) -> None:
    """Not yet, or proven."""
    early = judged(evidence(5, 0), errors(), proof=True)
    assert "not yet proven no worse" in early.sentence
    late = evidence(5, 0)
    for number in range(300):
        tell(late, turns(f"t{number}", failures(1), candidate=number % 20 == 0, chance=0.05))
    found = judged(late, errors(), proof=True)
    assert "proven no worse" in found.sentence
    assert "not yet" not in found.sentence
    assert found.proven is not None
    assert found.proven >= 20.0


def test_alpha_is_split_over_all_detectors() -> None:
    """0.8 % over the eight of the default guardrails is 0.1 % each."""
    found = bars(DEFAULT_GUARDRAILS, 0.01)
    assert found == {name: pytest.approx(1000.0)
                     for name in ("errors", "ttft", "inter-token", "request", "score")}


def test_a_guardrail_can_have_more_than_its_share() -> None:
    """What it takes, the others lack."""
    found = bars([errors(alpha=0.004), errors(name="ttft", metric="ttft")], 0.008)
    assert found == {"errors": pytest.approx(500.0), "ttft": pytest.approx(500.0)}
    assert list(misfits([errors(alpha=0.004), errors()], 0.008)) == []


@pytest.mark.parametrize(("metric", "slow", "said"), [
    ("inter_token", 0.0, "median 301.1 ms where stable has 198.7 ms, over "),
    ("ttft", 30.0, " conversations had a turn among stable's slowest 0.5 % (0 % of stable's own)"),
    ("score", 0.0, "mean 0.5 where stable has 0.9, over 50 conversations"),
])
def test_words_of_each_measure(
    attempt: Make, window: Make, metric: str, slow: float, said: str
) -> None:
    """A median, a mean, or how many were as slow as stable's slowest."""
    guardrail = errors(name=metric, metric=metric)
    question = question_of(guardrail)
    assert question is not None
    made = Evidence([question], horizon=3600.0)
    for number in range(200):
        ours, ttft = number % 4 == 0, 0.2 + 0.001 * (number * 37 % 200)
        ttft = slow if slow and ours and number > 150 else ttft * (1.05 if ours else 1.0)
        tell(made, turns(f"c{number}", [{"ttft": ttft, "inter_token": ttft,
                                         "score": max(0.0, 0.9 - ttft)}],
                         candidate=ours, chance=0.25, at=float(number)))
    found = judge_evidence(
        guardrail, made, made.tests[question], bar=1000.0, now=1000.0, reached=1000.0,
        candidate=window(5, ttft=0.3, inter_token=0.3, score=0.5),
        stable=window(5, ttft=0.2, inter_token=0.2, score=0.9))
    assert said in found.sentence
