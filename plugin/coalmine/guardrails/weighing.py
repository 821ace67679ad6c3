"""Judging a guardrail of evidence: what the bets have made of all conversations of the rollout."""

from __future__ import annotations

from functools import partial

from coalmine.guardrails.alpha import PROVEN
from coalmine.guardrails.detector import Detector
from coalmine.guardrails.durations import in_words
from coalmine.guardrails.evidence import Evidence
from coalmine.guardrails.guardrail import Guardrail
from coalmine.guardrails.judge import Finding, Status, act, figure
from coalmine.guardrails.lone_caller import MIN_CALLERS
from coalmine.guardrails.measure import Measure
from coalmine.guardrails.sequential import SequentialTest
from coalmine.guardrails.window import Window

TELLERS = {
    Measure.TTFT: "streamed answers",
    Measure.INTER_TOKEN: "streamed answers",
    Measure.COST: "answers with a price",
    Measure.SCORE: "answers with a score",
}
"""Who can tell it, where not every conversation can."""

PATIENCE = 60.0
"""Seconds that a breach waits for others to corroborate what one caller has shown: of the first
three conversations that a dead candidate fails, two are often his who calls most."""

OVERWHELMING = 100.0
"""How many times the bar it must be to wait no longer."""


def judge_evidence(
    guardrail: Guardrail, evidence: Evidence, test: SequentialTest, *, bar: float, now: float,
    reached: float, candidate: Window, stable: Window, proof: SequentialTest | None = None,
) -> Finding:
    """Judge one guardrail of evidence.

    Args:
        guardrail: the guardrail.
        evidence: all evidence of the rollout.
        test: this guardrail's.
        bar: the wealth at which it gives an alarm.
        now: unix time.
        reached: since when the bar has been reached, `now` where it was not or is not.
        candidate: the candidate's last minutes, for the figures that people see.
        stable: stable's.
        proof: the test that the candidate is no worse, None where no step asks for it.
    """
    leading = test.leading
    wealth = leading.wealth.total
    on_stable, on_candidate = test.units
    say = partial(
        Finding, guardrail, candidate=candidate.value(guardrail.metric),
        stable=stable.value(guardrail.metric), against="stable", evidence=wealth, bar=bar,
        proven=proof.wealth if proof is not None else None,
    )
    if not on_stable or not on_candidate:
        return say(status=Status.NO_DATA, sentence=(
            f"{guardrail.name}: waits for {TELLERS.get(test.question.measure, 'conversations')}: "
            f"{on_candidate} of the candidate, {on_stable} of stable"))
    words = _words(guardrail, leading, candidate, stable)
    weighed = f"evidence {wealth_in_words(wealth)}, bar {wealth_in_words(bar)}"
    if wealth < bar:
        sentence = f"{guardrail.name}: {words}: {weighed}"
        decided = test.seconds_to(bar, now) if wealth > 1.0 else None
        if decided is not None:
            sentence += f", reached in about {in_words(decided)} if it goes on so"
        if proof is not None:
            sentence += _proof(proof, now)
        return say(status=Status.OK, decided_in=decided, sentence=sentence)
    lone = None
    worst = test.one_caller(bar, PROVEN) if evidence.callers >= MIN_CALLERS else None
    if worst is not None:
        lone = evidence.alias_of(worst[0])
        if wealth < OVERWHELMING * bar and now - reached < PATIENCE:
            return say(status=Status.BREACH, lone_caller=lone, sentence=(
                f"{guardrail.name}: {words}: {weighed}; without the key {lone} it is "
                f"{wealth_in_words(worst[1])}, so others are waited for"))
    action, why = act(guardrail, lone, wealth)
    return say(status=Status.BREACH, sentence=f"{guardrail.name}: {words}: {weighed}{why}",
               action=action, lone_caller=lone)


def _proof(proof: SequentialTest, now: float) -> str:
    """Return how far it is proven that the candidate is no worse, in words."""
    wealth = proof.wealth
    if wealth >= PROVEN:
        return f"; proven no worse (evidence {wealth_in_words(wealth)})"
    words = f"; not yet proven no worse (evidence {wealth_in_words(wealth)} of {PROVEN:g}"
    left = proof.seconds_to(PROVEN, now)
    return words + (f", in about {in_words(left)})" if left is not None else ")")


def wealth_in_words(wealth: float) -> str:
    """Return evidence as people read it: 0.31, 12, 1 240, over a billion."""
    if wealth >= 1e9:
        return "over a billion"
    return f"{wealth:,.0f}".replace(",", " ") if wealth >= 10 else f"{wealth:.2g}"


def _words(guardrail: Guardrail, detector: Detector, candidate: Window, stable: Window) -> str:
    """Return what both arms did, as the leading detector has seen it."""
    bad, units = detector.counts.bad, detector.counts.units
    measure = guardrail.metric.measure
    if measure is Measure.ERRORS:
        what = "first turns" if detector.name == "first_turn" else "conversations"
        share = figure(guardrail.metric, bad[0] / max(1, units[0]))
        return f"the candidate failed {bad[1]} of {units[1]} {what} where stable fails {share}"
    if detector.name == "tail":
        share = f"{bad[0] / max(1, units[0]) * 100:.2g} %"
        return (f"{bad[1]} of the candidate's {units[1]} conversations had a turn among stable's "
                f"slowest 0.5 % ({share} of stable's own)")
    theirs, ours = (figure(guardrail.metric, window.value(guardrail.metric))
                    for window in (candidate, stable))
    what = "mean" if measure in (Measure.SCORE, Measure.TOKENS, Measure.COST) else "median"
    when = ", after their first minutes" if detector.name.startswith("later_") else ""
    return f"{what} {theirs} where stable has {ours}, over {units[1]} conversations{when}"
