"""Judging a static guardrail against the windows of both arms, and weighing all findings.

A share is compared with stable's, but with no less than one failure's worth: one failure in as
many attempts as the smaller of the two sides has. So an errorless stable arm neither lets a bad
candidate pass (nothing to compare with) nor condemns it for its first error (2 × 0 is 0): with
``max_ratio: 2`` it takes three failures. Any other figure of 0 has no multiples, and is no data.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from coalmine.guardrails.alpha import PROVEN
from coalmine.guardrails.guardrail import Action, Guardrail, Metric, Severity
from coalmine.guardrails.lone_caller import beyond, lone_caller
from coalmine.guardrails.sample_ratio import Split
from coalmine.guardrails.window import Window

MIN_CONCURRENT = 10
"""Attempts of the concurrent stable arm with the figure, below which the recorded baseline is
taken."""


class Status(str, Enum):
    """What a guardrail says."""

    NO_DATA = "no_data"
    OK = "ok"
    BREACH = "breach"


@dataclass(frozen=True, slots=True)
class Finding:
    """One guardrail's word.

    Attributes:
        guardrail: which.
        status: what it says.
        candidate: the candidate's figure, None without one.
        stable: what it was compared with, None for absolute limits.
        limit: the figure that it must not pass, None when unknown.
        one_in: the attempts in which stable was counted as having had one failure, None where its
            own figure counts.
        against: ``stable``, ``baseline``, ``limit``, or ``budget`` for an error budget, whose
            figures are burn rates; or None.
        sentence: the same in words.
        evidence: the wealth of the evidence that the candidate is worse, 1 at the beginning; None
            when there is none on its metric.
        bar: the evidence at which it acts, None for static ones.
        decided_in: seconds till the bar is reached if all goes on as it did, None if never.
        proven: the wealth of the evidence that the candidate is no worse, None where not asked for.
        action: what it asks for now, None when it asks for nothing.
        lone_caller: the only caller that the breach comes from, None otherwise.
    """

    guardrail: Guardrail
    status: Status
    sentence: str
    candidate: float | None = None
    stable: float | None = None
    limit: float | None = None
    one_in: int | None = None
    against: str | None = None
    evidence: float | None = None
    bar: float | None = None
    decided_in: float | None = None
    proven: float | None = None
    action: Action | None = None
    lone_caller: str | None = None


@dataclass(frozen=True, slots=True)
class Arms:
    """What a static guardrail is judged on.

    Attributes:
        candidate: the candidate's window, as long as the guardrail's.
        stable: the concurrent stable arm's, of the same length.
        baseline: stable's figures from before the rollout, by metric.
        evidence: the wealth of the evidence that the candidate is worse on this metric, None where
            there is none.
        shared_host: the arms share a host, so that stable's trouble may be the candidate's doing.
        comparable: the arms bear about the same load, so that their latencies can be compared.
    """

    candidate: Window
    stable: Window
    baseline: Mapping[str, float]
    evidence: float | None = None
    shared_host: bool = False
    comparable: bool = True


def figure(metric: Metric, value: float | None) -> str:
    """Return a figure with its unit, for people."""
    if value is None:
        return "unknown"
    if metric.is_share:
        return f"{value * 100:.3g} %"
    if metric.is_latency or metric.is_whole:
        return f"{value * 1000:.4g} ms"
    return f"{value:.4g}"


def _reference(guardrail: Guardrail, arms: Arms) -> tuple[float | None, str, float]:
    """Return what a relative guardrail compares with, what that is, and from how many attempts."""
    metric, stable = guardrail.metric, arms.stable
    if stable.units(metric) >= MIN_CONCURRENT and (arms.comparable or not metric.is_latency):
        value = stable.value(metric)
        if value is not None:
            return value, "stable", stable.units(metric)
    attempts = arms.baseline.get("attempts", math.inf)
    value = arms.baseline.get(metric.value) if attempts >= MIN_CONCURRENT else None
    return value, "baseline", attempts


def _limit(
    guardrail: Guardrail, reference: float | None, one: float = 0.0
) -> tuple[float | None, bool]:
    """Return the limit in the metric's unit, and whether it is a lower one.

    Args:
        guardrail: the guardrail.
        reference: what it compares with.
        one: one failure's worth of a share.
    """
    lower = guardrail.min is not None or guardrail.min_ratio is not None
    if guardrail.max is not None:
        return guardrail.max, lower
    if guardrail.min is not None:
        return guardrail.min, lower
    if guardrail.slo is not None and guardrail.max_slo_ratio is not None:
        return guardrail.slo * guardrail.max_slo_ratio, lower
    if reference is None:
        return None, lower
    if guardrail.metric.is_share:
        reference = min(reference, 1 - one) if lower else max(reference, one)
    elif reference <= 0:
        return None, lower
    if guardrail.max_ratio is not None:
        return reference * guardrail.max_ratio, lower
    if guardrail.min_ratio is not None:
        return reference * guardrail.min_ratio, lower
    assert guardrail.max_increase is not None
    return reference * (1 + guardrail.max_increase), lower


def judge(guardrail: Guardrail, arms: Arms) -> Finding:
    """Judge one static guardrail."""
    metric, candidate = guardrail.metric, arms.candidate
    value = candidate.value(metric)
    reference, against, attempts = None, "limit", math.inf
    if guardrail.relative:
        reference, against, attempts = _reference(guardrail, arms)
    one = 1 / max(1.0, min(candidate.units(metric), attempts))
    limit, lower = _limit(guardrail, reference, one)
    raised = limit != _limit(guardrail, reference)[0]
    one_in = round(1 / one) if raised else None
    say = partial(Finding, guardrail, candidate=value, stable=reference, against=against,
                  evidence=arms.evidence)

    conversations = candidate.conversations_for(metric, guardrail.min_conversations)
    enough = conversations >= guardrail.min_conversations
    if value is None or limit is None or not enough:
        few = candidate.conversations < guardrail.min_conversations
        if enough and limit is None:
            zero = "" if reference is None else f": {_NAMES[against]} is 0"
            missing = f"nothing to compare with{zero}"
        elif enough or (value is None and not few):
            missing = "no figure yet"
        else:
            having = "" if few else f" with a {metric.value}"
            missing = (f"{conversations} of {guardrail.min_conversations} candidate conversations"
                       f"{having}")
        # One failure in a few attempts makes a limit that tells nobody anything.
        return say(status=Status.NO_DATA, limit=None if raised else limit,
                   sentence=f"{guardrail.name}: {missing}")
    say = partial(say, limit=limit, one_in=one_in)

    words = f"{metric.value} {figure(metric, value)}"
    compared = ""
    if guardrail.relative:
        compared = f"{_NAMES[against]} {figure(metric, reference)}, "
        if one_in is not None:
            compared += f"counted as one failure in {one_in}, "
    bound = f"{compared}limit {'≥' if lower else '≤'} {figure(metric, limit)}"
    if not beyond(value, limit, lower=lower):
        return say(status=Status.OK, sentence=f"{guardrail.name}: {words} ({bound})")

    sentence = f"{guardrail.name}: {words} over {candidate.covered_in_words} ({bound})"
    theirs = _shown_too(metric, arms.stable, value, limit, lower)
    if theirs is not None and against != "stable":
        if not arms.shared_host:
            return say(status=Status.OK, stable=theirs, sentence=f"{sentence}; stable shows it too "
                       f"({figure(metric, theirs)}), so it is not the candidate's")
        sentence += "; stable shows it too, but the arms share a host"
    lone = lone_caller(
        metric, candidate, lower=lower, limit_for=lambda units: _limit(
            guardrail, reference, 1 / max(1.0, min(units, attempts)))[0])
    action, why = act(guardrail, lone, arms.evidence)
    return say(status=Status.BREACH, sentence=sentence + why, action=action, lone_caller=lone)


def act(guardrail: Guardrail, lone: str | None, evidence: float | None
        ) -> tuple[Action | None, str]:
    """Return what a breach asks for, and why it asks for less than the policy says, in words."""
    does = guardrail.does
    why = ""
    if lone is not None:
        does, why = Action.PAUSE, f"; it vanishes without the key {lone}, so it only pauses"
    elif does is Action.ROLLBACK and guardrail.relative and not guardrail.alone:
        if evidence is None:
            does, why = Action.PAUSE, "; no evidence can corroborate it, so it only pauses"
        elif evidence < PROVEN:
            does, why = Action.PAUSE, (f"; evidence {evidence:.3g} of the {PROVEN:g} that would "
                                       "corroborate it, so it only pauses")
        else:
            why = f"; corroborated by evidence {evidence:.3g}"
    return (None if guardrail.dry_run else does), why


def _shown_too(metric: Metric, stable: Window, value: float, limit: float, lower: bool
               ) -> float | None:
    """Return stable's figure of the same minutes if it shows the breach too, else None.

    A share of failures counts as shown where the candidate's is no more than twice stable's: at the
    edge of an incident that hits both arms, chance says which crosses the limit first.
    """
    if stable.units(metric) < MIN_CONCURRENT:
        return None
    theirs = stable.value(metric)
    if theirs is None:
        return None
    if beyond(theirs, limit, lower=lower):
        return theirs
    if metric.is_share:
        bad, most = (1.0 - value, 1.0 - theirs) if lower else (value, theirs)
        return theirs if bad <= 2.0 * most else None
    return None


_NAMES = {"stable": "stable", "baseline": "recorded baseline"}


class Decide(str, Enum):
    """The verdict on a rollout."""

    PROMOTE = "promote"
    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done, and why.

    Attributes:
        decision: the decision.
        reason: in words.
        findings: all guardrails' words, worst first.
        worst: the finding that decided, None when none did.
        split: the conversations that evidence rests on, None where nobody told.
    """

    decision: Decide
    reason: str
    findings: tuple[Finding, ...] = ()
    worst: Finding | None = None
    split: Split | None = None


_SEVERITIES = (Severity.MILD, Severity.MAJOR, Severity.CRITICAL)
_ACTIONS = (None, Action.PAUSE, Action.ROLLBACK)


def _badness(finding: Finding) -> tuple[int, int, int]:
    return (
        int(finding.status is Status.BREACH),
        _ACTIONS.index(finding.action),
        _SEVERITIES.index(finding.guardrail.severity),
    )


def weigh(findings: Iterable[Finding], *, step_over: bool, holding: str, unproven: str = "",
          tolerated: Container[str] = ()) -> Verdict:
    """Return the verdict on all findings together; the worst one decides.

    Args:
        findings: one for each guardrail.
        step_over: whether soak and minimum of the step are reached.
        holding: what is still waited for, in words, when nothing is broken.
        unproven: why the rollout must not grow although the step is over; "" when it may.
        tolerated: guardrails whose pause a person has resumed: they pause it no more, but a breach
            that asks for a rollback still does.
    """
    findings = [
        replace(finding, action=None, sentence=f"{finding.sentence}; resumed all the same")
        if finding.action is Action.PAUSE and finding.guardrail.name in tolerated else finding
        for finding in findings]
    ranked = tuple(sorted(findings, key=_badness, reverse=True))
    worst = ranked[0] if ranked and ranked[0].action is not None else None
    if worst is not None:
        decision = Decide.ROLLBACK if worst.action is Action.ROLLBACK else Decide.PAUSE
        return Verdict(decision, worst.sentence, ranked, worst)
    acting = [finding for finding in ranked if not finding.guardrail.dry_run]
    doubted = next((finding for finding in acting if finding.status is Status.BREACH
                    and finding.guardrail.name not in tolerated), None)
    if doubted is not None:
        return Verdict(Decide.HOLD, doubted.sentence, ranked)
    if step_over and acting and all(f.status is Status.NO_DATA for f in acting):
        # Too little data holds: a step must not end while nobody looks.
        return Verdict(
            Decide.HOLD, f"soak and minimum reached, but nothing could be judged: "
            f"{'; '.join(f.sentence for f in acting[:3])}", ranked,
        )
    if step_over and unproven:
        return Verdict(Decide.HOLD, f"soak and minimum reached, but {unproven}", ranked)
    if step_over:
        return Verdict(Decide.PROMOTE, "soak and minimum reached, nothing is broken", ranked)
    return Verdict(Decide.HOLD, holding, ranked)
