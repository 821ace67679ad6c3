"""The decision table: which arm serves a turn, what is written, and whether it is evidence.

An ordered tuple of rules; the first that fits decides. Its cases stand as data in
``tests/routing/decisions.yaml``. Resolve the conversation's pin first, then ask; who loses the
claim of a pin asks again with the winner's. After an attempt on an arm has failed, that arm is
down for the rest of the request: that is how rescue works.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from coalmine.routing.draw import WHOLE
from coalmine.routing.phases import BACK, ROLLOUT_RUNS, Arm, Phase
from coalmine.routing.pins import NO_CHANCE, UNTOLD, Pin
from coalmine.routing.plan import RoutingPlan


class Held(str, Enum):
    """What a conversation holds when it comes."""

    NOTHING = "nothing"
    OURS_STABLE = "ours: stable"
    OURS_CANDIDATE = "ours: candidate"
    OURS_UNTOLD = "ours: stable, moved and not yet told"
    OLDER_SAME = "older: release is still stable"
    OLDER_REPLACED = "older: a release that another was promoted over"
    OLDER_GIVEN_UP = "older: a release that was rolled back"


class Write(str, Enum):
    """What becomes of its pin."""

    NOTHING = "nothing"
    STABLE = "stable without chance"
    DRAWN = "drawn"


class Moved(str, Enum):
    """Why a conversation changes release; told to the client and counted."""

    RESCUE = "rescue"
    ROLLBACK = "rollback"
    PROMOTED = "promoted"
    LATE = "late"
    """Moved before and counted then; only told now."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. None in a condition means "any"."""

    phases: frozenset[Phase]
    held: frozenset[Held]
    name: str
    new: bool | None = None
    stable_up: bool | None = None
    candidate_up: bool | None = None
    finish: bool | None = None
    serve: Arm | None = Arm.STABLE  # None: the arm that is drawn
    write: Write = Write.NOTHING
    evidence: bool = False
    moved: Moved | None = None
    failed: bool = False  # the arm that is down has failed this conversation


@dataclass(frozen=True, slots=True)
class Decision:
    """What the table says of one turn.

    Attributes:
        arm: the arm that serves.
        release: its release.
        pin: the pin to write, None when nothing is to be written.
        chance: the candidate's chance when the conversation was drawn, None when it was not.
        evidence: whether its outcomes are evidence (only if 0 < chance < 1).
        moved_from: the release that it leaves by this decision, None when it stays.
        moved: why it leaves.
        failed: the arm that had no deployment left for it, which counts as that arm's failure.
        rule: name of the rule that decided, for logs and tests.
    """

    arm: Arm
    release: str
    rule: str
    pin: Pin | None = None
    chance: float | None = None
    evidence: bool = False
    moved_from: str | None = None
    moved: Moved | None = None
    failed: Arm | None = None


_IDLE = frozenset({Phase.IDLE})
_DRAWING = frozenset({Phase.CANARY, Phase.PAUSED})
_BAKING = frozenset({Phase.BAKING})
_NOTHING = frozenset({Held.NOTHING})
_CANDIDATE = frozenset({Held.OURS_CANDIDATE})
_STABLE = frozenset({Held.OURS_STABLE})
_SAME = frozenset({Held.OLDER_SAME})
_REPLACED = frozenset({Held.OLDER_REPLACED})
_GIVEN_UP = frozenset({Held.OLDER_GIVEN_UP})
_UNTOLD = frozenset({Held.OURS_UNTOLD})

RULES: tuple[Rule, ...] = (
    Rule(frozenset(Phase), _UNTOLD, "any: told now that it was moved",
         write=Write.STABLE, moved=Moved.LATE),
    Rule(_IDLE, _REPLACED, "idle: another release was promoted over its own",
         write=Write.STABLE, moved=Moved.PROMOTED),
    Rule(_IDLE, _GIVEN_UP, "idle: its release was rolled back",
         write=Write.STABLE, moved=Moved.ROLLBACK),
    Rule(_IDLE, _NOTHING, "idle: marked as seen", write=Write.STABLE),
    Rule(_IDLE, frozenset(Held), "idle: stable"),
    Rule(ROLLOUT_RUNS, _CANDIDATE, "rollout: stays on the candidate",
         candidate_up=True, serve=Arm.CANDIDATE, evidence=True),
    Rule(ROLLOUT_RUNS, _CANDIDATE, "rollout: the candidate failed it",
         write=Write.STABLE, moved=Moved.RESCUE, failed=True),
    # Down or not: it is never pushed onto the candidate, and what becomes of it is evidence, as it
    # is on a candidate that is down. An incident of both arms would else accuse the candidate.
    Rule(ROLLOUT_RUNS, _STABLE, "rollout: stays on stable", evidence=True),
    Rule(ROLLOUT_RUNS, _REPLACED, "rollout: of an older era, its release was replaced",
         write=Write.STABLE, moved=Moved.PROMOTED),
    Rule(ROLLOUT_RUNS, _GIVEN_UP, "rollout: of an older era, its release was rolled back",
         write=Write.STABLE, moved=Moved.ROLLBACK),
    Rule(ROLLOUT_RUNS, _SAME, "rollout: began before it"),
    Rule(ROLLOUT_RUNS, _NOTHING, "rollout: not recognised, or old", new=False, write=Write.STABLE),
    Rule(_DRAWING, _NOTHING, "canary: drawn", new=True, stable_up=True, candidate_up=True,
         serve=None, write=Write.DRAWN, evidence=True),
    Rule(_BAKING, _NOTHING, "baking: drawn", new=True, candidate_up=True,
         serve=None, write=Write.DRAWN, evidence=True),
    Rule(ROLLOUT_RUNS, _NOTHING, "rollout: an arm is down, so no draw",
         new=True, write=Write.STABLE, failed=True),
    Rule(BACK, _CANDIDATE, "back: may finish on the candidate",
         candidate_up=True, finish=True, serve=Arm.CANDIDATE),
    Rule(BACK, _CANDIDATE, "back: moved to stable", write=Write.STABLE, moved=Moved.ROLLBACK),
    Rule(BACK, _REPLACED, "back: of an older era, its release was replaced",
         write=Write.STABLE, moved=Moved.PROMOTED),
    Rule(BACK, _GIVEN_UP, "back: of an older era, its release was rolled back",
         write=Write.STABLE, moved=Moved.ROLLBACK),
    Rule(BACK, _NOTHING, "back: marked as seen", write=Write.STABLE),
    Rule(BACK, frozenset(Held), "back: stable"),
)


def held(plan: RoutingPlan, pin: Pin | None) -> Held:
    """Say what `pin` means under `plan`."""
    if pin is None:
        return Held.NOTHING
    if pin.era == plan.era:
        if pin.change == UNTOLD:
            return Held.OURS_UNTOLD
        return Held.OURS_CANDIDATE if pin.arm is Arm.CANDIDATE else Held.OURS_STABLE
    if plan.release_of(pin) == plan.stable:
        return Held.OLDER_SAME
    return Held.OLDER_GIVEN_UP if _given_up(plan, pin) else Held.OLDER_REPLACED


def _given_up(plan: RoutingPlan, pin: Pin) -> bool:
    """Whether the release of a pin of an older era went by a rollback, not by a promotion.

    A promotion makes the candidate of one era the stable release of the next. What is left in any
    other way was rolled back: as a candidate, or from idle to the release before.
    """
    release, last = plan.release_of(pin), plan.eras.get(pin.era)
    if release is None or last is None:
        return False
    for number in range(pin.era + 1, plan.era + 1):
        era = plan.eras.get(number)
        if era is None:
            return False
        if release not in (era.stable, era.candidate):
            return not (last.stable == release and last.candidate == era.stable)
        last = era
    return False


def _fits(rule: Rule, plan: RoutingPlan, holds: Held, new: bool, up: dict[Arm, bool]) -> bool:
    return (
        plan.phase in rule.phases
        and holds in rule.held
        and rule.new in (None, new)
        and rule.stable_up in (None, up[Arm.STABLE])
        and rule.candidate_up in (None, up[Arm.CANDIDATE])
        and rule.finish in (None, plan.finish)
    )


def decide(
    plan: RoutingPlan,
    pin: Pin | None,
    *,
    new: bool,
    stable_up: bool = True,
    candidate_up: bool = True,
    draw: int = WHOLE,
) -> Decision:
    """Return what is to be done with one turn.

    Args:
        plan: the routing in force.
        pin: what the conversation holds, None when it holds nothing.
        new: whether this is known to be the conversation's beginning.
        stable_up: whether stable has a deployment left for this request.
        candidate_up: whether the candidate has one.
        draw: the conversation's bucket (see :func:`coalmine.routing.draw.bucket`), used only
            when it is drawn.

    The table is complete (a property test walks the product), so there is always a decision.
    """
    up = {Arm.STABLE: stable_up, Arm.CANDIDATE: candidate_up and plan.candidate is not None}
    holds = held(plan, pin)
    rule = next(rule for rule in RULES if _fits(rule, plan, holds, new, up))

    arm = rule.serve
    if arm is None:
        arm = Arm.CANDIDATE if draw < plan.weight else Arm.STABLE
    release = plan.candidate if arm is Arm.CANDIDATE and plan.candidate else plan.stable

    written: Pin | None = None
    if rule.write is Write.DRAWN:
        written = Pin(plan.era, plan.change, arm)
    elif rule.write is Write.STABLE:
        written = Pin(plan.era, NO_CHANCE, Arm.STABLE)

    drawn = written or pin
    chance = plan.chance_of(drawn) if drawn else None
    down = Arm.CANDIDATE if not up[Arm.CANDIDATE] else Arm.STABLE
    leaves = plan.release_of(pin) if rule.moved and pin else None
    if rule.moved is Moved.LATE:
        leaves = plan.candidate
    return Decision(
        arm=arm,
        release=release,
        rule=rule.name,
        pin=written,
        chance=chance,
        evidence=rule.evidence and chance is not None and 0.0 < chance < 1.0,
        moved_from=leaves if leaves != release else None,
        moved=rule.moved if leaves and leaves != release else None,
        failed=down if rule.failed else None,
    )


