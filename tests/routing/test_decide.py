"""The decision table: its rows as data, and what must hold over the full product."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coalmine.routing import (
    NO_CHANCE,
    Arm,
    Decision,
    Era,
    Moved,
    Phase,
    Pin,
    RoutingPlan,
    decide,
)
from coalmine.routing.decide import RULES
from coalmine.routing.pins import UNTOLD

ROWS = yaml.safe_load((Path(__file__).parent / "decisions.yaml").read_text("utf-8"))

ERAS = {
    1: Era("v0", "v8"), 2: Era("v8"), 3: Era("v0"),  # v8 was promoted, and left again in idle
    4: Era("v0", "v1"), 5: Era("v1"), 6: Era("v1", "v9"), 7: Era("v1"), 8: Era("v1", "v2"),
}
"""Era 8 is the rollout in force, of v2; 9 would be the idle time after it."""

NOW = 8

CHANCES = (0.05, 1.0, 0.25, 0.98)
"""By number of the weight change, from 1 on."""

PINS: dict[str, Pin | None] = {
    "none": None,
    "drawn stable": Pin(NOW, 1, Arm.STABLE),
    "drawn candidate": Pin(NOW, 1, Arm.CANDIDATE),
    "certain candidate": Pin(NOW, 2, Arm.CANDIDATE),
    "seen": Pin(NOW, NO_CHANCE, Arm.STABLE),
    "older same": Pin(7, NO_CHANCE, Arm.STABLE),
    "older other": Pin(3, NO_CHANCE, Arm.STABLE),
    "older left": Pin(2, NO_CHANCE, Arm.STABLE),
    "older candidate": Pin(6, 1, Arm.CANDIDATE),
    "forgotten": Pin(0, 1, Arm.CANDIDATE),
    "untold": Pin(NOW, UNTOLD, Arm.STABLE),
}

UP = {
    "both": (True, True),
    "no candidate": (True, False),
    "no stable": (False, True),
    "neither": (False, False),
}

ANY = {
    "new": [True, False],
    "up": list(UP),
    "draw": ["under", "over"],
    "finish": [True, False],
}


def plan(phase: Phase, finish: bool = False) -> RoutingPlan:
    """Return the routing of a rollout of v2 after v1 that stands in `phase`."""
    running = RoutingPlan(
        service="chat",
        epoch=12,
        phase=phase,
        era=NOW,
        eras=ERAS,
        stable="v1",
        candidate="v2",
        weight={Phase.BAKING: 980_000}.get(phase, 250_000),
        change={Phase.BAKING: 4}.get(phase, 3),
        chances=CHANCES if phase is Phase.BAKING else CHANCES[:3],
        finish=finish,
    )
    if phase is Phase.IDLE:
        return replace(
            running, eras={**ERAS, NOW: Era("v1")}, candidate=None, weight=0, change=0, chances=()
        )
    return running


Facts = dict[str, Any]


def cases(row: dict[str, Any]) -> Iterator[Facts]:
    """Yield each combination of a row."""
    when = {"draw": "any", "finish": "any", "new": "any", "up": "any", **row["when"]}
    choices = [
        ANY[name] if value == "any" else value if isinstance(value, list) else [value]
        for name, value in when.items()
    ]
    for values in product(*choices):
        yield dict(zip(when, values, strict=True))


def take(facts: Facts) -> Decision:
    stable_up, candidate_up = UP[facts["up"]]
    return decide(
        plan(Phase(facts["phase"]), facts["finish"]),
        PINS[facts["pin"]],
        new=facts["new"],
        stable_up=stable_up,
        candidate_up=candidate_up,
        draw={"under": 0, "over": 999_999}[facts["draw"]],
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_the_table_decides_as_the_design_says(row: dict[str, Any]) -> None:
    then = row["then"]
    for facts in cases(row):
        decision = take(facts)
        written = {
            "nothing": None,
            "seen": Pin(NOW, NO_CHANCE, Arm.STABLE),
            "drawn": Pin(NOW, 4 if facts["phase"] == "baking" else 3, Arm(then["serve"])),
        }[then["write"]]
        assert decision.arm.value == then["serve"], facts
        assert decision.release == {"stable": "v1", "candidate": "v2"}[then["serve"]], facts
        assert decision.pin == written, facts
        assert decision.evidence is then["evidence"], facts
        assert decision.moved_from == then.get("told"), facts
        assert (decision.moved and decision.moved.value) == then.get("why"), facts
        assert (decision.failed and decision.failed.value) == then.get("failed"), facts


def test_the_rows_cover_the_full_product_and_none_of_it_twice() -> None:
    names = ("phase", "pin", "new", "up", "draw", "finish")
    told = [tuple(facts[name] for name in names) for row in ROWS for facts in cases(row)]
    phases = [phase.value for phase in Phase]
    wanted = set(product(phases, PINS, *(ANY[name] for name in names[2:])))
    # In idle nothing was drawn in the era that runs.
    never = {"drawn stable", "drawn candidate", "certain candidate"}
    assert len(told) == len(set(told))
    assert set(told) == {c for c in wanted if not (c[0] == "idle" and c[1] in never)}


def test_every_rule_of_the_table_decides_something() -> None:
    used = {take(facts).rule for row in ROWS for facts in cases(row)}
    assert used == {rule.name for rule in RULES}


@pytest.mark.parametrize(
    ("phase", "pin", "why"),
    [
        (Phase.IDLE, "older other", Moved.PROMOTED),
        (Phase.CANARY, "drawn candidate", Moved.RESCUE),
        (Phase.BAKING, "drawn candidate", Moved.RESCUE),
        (Phase.ROLLING_BACK, "drawn candidate", Moved.ROLLBACK),
        (Phase.ROLLED_BACK, "certain candidate", Moved.ROLLBACK),
    ],
)
def test_a_move_says_why(phase: Phase, pin: str, why: Moved) -> None:
    assert decide(plan(phase), PINS[pin], new=False, candidate_up=False).moved is why


# --------------------------------------------------------------------------- the full product

eras = st.dictionaries(
    st.integers(0, 6),
    st.builds(Era, st.sampled_from(["v0", "v1", "v2"]), st.sampled_from([None, "v2", "v9"])),
)
pins = st.none() | st.builds(Pin, st.integers(0, 6), st.integers(0, 5), st.sampled_from(Arm))
draws = st.integers(0, 999_999)


@st.composite
def plans(draw: st.DrawFn) -> RoutingPlan:
    phase = draw(st.sampled_from(Phase))
    candidate = None if phase is Phase.IDLE else "v2"
    weights = draw(st.lists(st.floats(0.1, 100), max_size=4)) if candidate else []
    return RoutingPlan(
        service="chat",
        epoch=1,
        phase=phase,
        era=6,
        eras={**draw(eras), 6: Era("v1", candidate)},
        stable="v1",
        candidate=candidate,
        weight=round(weights[-1] * 10_000) if weights else 0,
        change=len(weights),
        chances=tuple(weight / 100 for weight in weights),
        finish=draw(st.booleans()),
    )


@settings(max_examples=300, deadline=None)
@given(plans(), pins, st.booleans(), st.booleans(), st.booleans(), draws)
def test_whatever_comes_the_promises_hold(
    routing: RoutingPlan,
    pin: Pin | None,
    new: bool,
    stable_up: bool,
    candidate_up: bool,
    draw: int,
) -> None:
    up = {"stable_up": stable_up, "candidate_up": candidate_up}
    decision = decide(routing, pin, new=new, draw=draw, **up)

    assert decision.release == (routing.candidate if decision.arm is Arm.CANDIDATE else "v1")
    ours = pin is not None and pin.era == routing.era
    if ours and pin is not None and pin.arm is Arm.STABLE:
        assert decision.arm is Arm.STABLE, "users of stable are never pushed onto the candidate"
    if not new and not (ours and pin is not None and pin.arm is Arm.CANDIDATE):
        assert decision.arm is Arm.STABLE, "what began before stays on stable"
    if pin is not None and not ours:
        assert decision.arm is Arm.STABLE, "what an older rollout gave is never the candidate"
    if routing.phase is Phase.IDLE or not candidate_up:
        assert decision.arm is Arm.STABLE
    if decision.evidence:
        assert decision.chance is not None
        assert 0 < decision.chance < 1
    if decision.moved_from is not None:
        assert decision.moved_from != decision.release
        assert decision.pin is not None, "a move is written"
    if pin is None and new and decision.pin is not None and decision.pin.change:
        assert (draw < routing.weight) == (decision.arm is Arm.CANDIDATE)


@settings(max_examples=300, deadline=None)
@given(plans(), pins, st.booleans(), st.booleans(), st.booleans(), draws, draws)
def test_a_written_pin_decided_again_gives_the_same_arm_and_writes_nothing(
    routing: RoutingPlan,
    pin: Pin | None,
    new: bool,
    stable_up: bool,
    candidate_up: bool,
    draw: int,
    other_draw: int,
) -> None:
    up = {"stable_up": stable_up, "candidate_up": candidate_up}
    first = decide(routing, pin, new=new, draw=draw, **up)
    if first.pin is None:
        return
    for later_new in (True, False):
        again = decide(routing, first.pin, new=later_new, draw=other_draw, **up)
        assert again.arm is first.arm
        assert again.pin is None
        assert again.moved_from is None


def test_who_loses_a_claim_gets_the_arm_and_the_chance_of_the_winner() -> None:
    routing = plan(Phase.CANARY)
    mine = decide(routing, None, new=True, draw=0)
    theirs = decide(routing, None, new=True, draw=999_999)
    assert mine.arm is Arm.CANDIDATE
    again = decide(routing, theirs.pin, new=True, draw=0)
    assert again.arm is Arm.STABLE
    assert again.chance == theirs.chance == 0.25


@pytest.mark.parametrize(
    ("draw", "arm"),
    [(0, Arm.CANDIDATE), (249_999, Arm.CANDIDATE), (250_000, Arm.STABLE), (999_999, Arm.STABLE)],
)
def test_exactly_as_many_buckets_as_the_weight_says_get_the_candidate(draw: int, arm: Arm) -> None:
    assert decide(plan(Phase.CANARY), None, new=True, draw=draw).arm is arm


def test_without_a_candidate_in_the_plan_none_is_served() -> None:
    routing = replace(plan(Phase.CANARY), candidate=None)
    decision = decide(routing, PINS["drawn candidate"], new=False)
    assert (decision.arm, decision.release) == (Arm.STABLE, "v1")
