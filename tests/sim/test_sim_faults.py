"""Faults as data: validation, the share each takes, and reproducible plans."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest

from coalmine.sim.faults import HEALTHY, Decision, FaultPlan, Faults, Outcome, outcome

SHARES = [field.name for field in fields(Faults) if field.name.endswith("_share")]


def test_the_default_is_a_healthy_engine() -> None:
    """Whatever is drawn, nothing befalls a request of an engine without faults."""
    assert {outcome(HEALTHY, pick) for pick in (0.0, 0.5, 0.999999)} == {Outcome.OK}


def test_faults_survive_the_way_through_json() -> None:
    """What to_dict writes from_dict reads."""
    faults = Faults(error_share=0.25, max_queued=3, auth=True, start_after=7)
    assert Faults.from_dict(faults.to_dict()) == faults
    assert Faults.from_dict({}) == HEALTHY


def test_an_unknown_fault_is_refused_with_the_nearest_name() -> None:
    """A typing error says what was probably meant."""
    with pytest.raises(
        ValueError, match=r"eror_share=0\.1 is no fault: did you mean 'error_share'"
    ):
        Faults.from_dict({"eror_share": 0.1})
    with pytest.raises(ValueError, match=r"zzz=1 is no fault: known are error_share, "):
        Faults.from_dict({"zzz": 1})


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, True, "0.5", None, [1]])
def test_a_share_outside_zero_to_one_is_refused(name: str, value: Any) -> None:
    """The message names the field, its value and what to give."""
    said = f"^{name}={re.escape(repr(value))} is not a number from 0 to 1: give a share"
    with pytest.raises(ValueError, match=said):
        Faults.from_dict({name: value})


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("error_status", 200, "from 400 to 599"),
        ("error_status", 500.0, "from 400 to 599"),
        ("error_status", True, "from 400 to 599"),
        ("latency_factor", -1, "0 or more"),
        ("ttft_factor", "2", "0 or more"),
        ("inter_token_factor", math.inf, "0 or more"),
        ("stall_seconds", -0.1, "give seconds"),
        ("hang_seconds", math.nan, "give seconds"),
        ("max_queued", -1, "or null"),
        ("max_queued", 1.5, "or null"),
        ("start_after", -1, "of 0 or more"),
        ("start_after", None, "of 0 or more"),
        ("overload", 1, "true or false"),
        ("auth", "yes", "true or false"),
        ("unknown_model", None, "true or false"),
    ],
)
def test_an_impossible_value_is_refused(name: str, value: Any, hint: str) -> None:
    """Every field is checked, and says what it takes."""
    with pytest.raises(ValueError, match=f"^{name}={re.escape(repr(value))} .*{hint}"):
        Faults(**{name: value})


def test_every_field_is_checked() -> None:
    """No field takes an object, so none was forgotten by the validation."""
    for field in fields(Faults):
        with pytest.raises(ValueError, match=field.name):
            Faults.from_dict({field.name: object()})


def test_shares_that_exceed_the_whole_are_refused() -> None:
    """Shares exclude each other, so they cannot add up to more than one."""
    with pytest.raises(ValueError, match=r"error_share=0\.6, cut_share=0\.5 add up to 1\.1"):
        Faults(error_share=0.6, cut_share=0.5)
    Faults(error_share=0.1, cut_share=0.2, stall_share=0.7)


def test_what_is_no_object_is_refused() -> None:
    """A JSON list is no set of faults."""
    with pytest.raises(ValueError, match="give a JSON object"):
        Faults.from_dict(["error_share"])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SHARES)
def test_a_full_share_befalls_every_request(name: str) -> None:
    """Every share has its outcome, whose name it bears."""
    faults = Faults.from_dict({name: 1.0})
    assert {outcome(faults, pick / 100) for pick in range(100)} == {
        Outcome(name.removesuffix("_share"))
    }


@pytest.mark.parametrize("name", ["auth", "unknown_model", "overload"])
def test_a_switch_befalls_every_request_before_any_share(name: str) -> None:
    """A switch that is on leaves nothing to the shares."""
    assert outcome(Faults(**{name: True}, error_share=1.0), 0.0) == Outcome(name)


def test_shares_divide_the_draws_between_them() -> None:
    """Over many requests each fault meets its share."""
    plan = FaultPlan(3, Faults(error_share=0.1, cut_share=0.2))
    seen = Counter(plan.next().outcome for _ in range(20_000))
    assert seen[Outcome.ERROR] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert seen[Outcome.CUT] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert seen[Outcome.OK] / 20_000 == pytest.approx(0.7, abs=0.012)


def test_the_same_seed_deals_the_same_decisions() -> None:
    """Two plans of one seed agree, those of another differ."""
    faults = Faults(error_share=0.3, stall_share=0.3)
    first, again, other = FaultPlan(5, faults), FaultPlan(5, faults), FaultPlan(6, faults)
    decisions = [first.next() for _ in range(100)]
    assert decisions == [again.next() for _ in range(100)]
    assert decisions != [other.next() for _ in range(100)]


def test_switching_faults_does_not_shift_later_draws() -> None:
    """A request draws the same whatever the faults before it were."""
    faults = Faults(error_share=0.5)
    steady, switched = FaultPlan(5, faults), FaultPlan(5)
    for _ in range(50):
        steady.next()
        switched.next()
    switched.set(faults)
    assert [steady.next() for _ in range(50)] == [switched.next() for _ in range(50)]


def test_a_reset_plan_begins_again_with_its_first_faults() -> None:
    """After a reset the draws and the faults are those of the start."""
    plan = FaultPlan(5, Faults(error_share=0.5))
    decisions = [plan.next() for _ in range(20)]
    plan.set(Faults(overload=True))
    plan.next()
    plan.reset()
    assert [plan.next() for _ in range(20)] == decisions


def test_faults_wait_for_the_requests_that_are_to_stay_healthy() -> None:
    """start_after counts from the moment the faults were set."""
    plan = FaultPlan(5)
    plan.next()
    plan.set(Faults(error_share=1.0, start_after=2, latency_factor=3))
    decisions = [plan.next() for _ in range(4)]
    assert [one.outcome for one in decisions] == [Outcome.OK] * 2 + [Outcome.ERROR] * 2
    assert [one.faults.latency_factor for one in decisions] == [1, 1, 3, 3]


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999999])
def test_a_fault_strikes_midway_after_some_and_before_all_tokens(count: int, where: float) -> None:
    """Something was said and something is missing."""
    assert 1 <= Decision(Outcome.CUT, where, HEALTHY).midway(count) < count


def test_a_fault_in_an_answer_of_one_token_strikes_before_its_end() -> None:
    """The finish is then all that is missing."""
    assert Decision(Outcome.CUT, 0.9, HEALTHY).midway(1) == 1
